#include "tables.h"

/* The model of all tables but the copies: their rows repeat each other, their columns as well, and what they step by
   takes them back to where they were. */

enum {
    PAGE = 4096,    /* bytes: what starts with one ADRP ends before the next page */
    COLUMNS_MOST = 6,
};

_Static_assert(COLUMNS_MOST + 1 <= NUMBERS_COLUMNS, "what is left behind the last whole row is one column more");

typedef struct {
    uint32_t columns;
    uint32_t twin;      /* the column so many before is alike */
    uint32_t is_signed; /* a bit for each column; one more for what is left behind the last whole row */
} Shape;

/* Of those that are no rows of copies. */
static const Shape shapes[TABLES] = {
    [TABLE_PIECES] = {6, 3, 1 << 2 | 1 << 5 | 1 << 6}, /* as if both images had equally many */
    [TABLE_REGIONS] = {4, 1, 1 << 2 | 1 << 3},
    [TABLE_CORRECTIONS] = {2, 1, 1 << 1},
};

/* Of each column: the numbers of the last two rows, and the sum of all. */
typedef struct {
    uint64_t last[COLUMNS_MOST + 1], older[COLUMNS_MOST + 1], sum[COLUMNS_MOST + 1];
} Rows;

/* Which of the columns with a sign are back at 0. */
static uint32_t balance(const Rows *rows, const Shape *shape)
{
    uint32_t zeros = 0;

    for (uint32_t column = 0; column <= shape->columns; column++)
        if (shape->is_signed >> column & 1)
            zeros = zeros << 1 | (rows->sum[column] == 0);
    return zeros;
}

static uint64_t code_cell(Rows *rows, const Shape *shape, Numbers *model, Coder *coder, uint32_t column, uint64_t value)
{
    uint64_t above = rows->last[column], older = rows->older[column], sum = rows->sum[column];
    uint64_t left = column ? rows->last[column - 1] : 0, twin = column < shape->twin ? 0 : rows->last[column - shape->twin];
    uint32_t state = balance(rows, shape), is_signed = shape->is_signed >> column & 1;
    Number number = {
        .column = column,
        .contexts = 4,
        .context = {state, state << 16 | size_of(above) << 8 | size_of(left), size_of(above) << 8 | size_of(older), size_of(left)},
        .guesses = 3,
        .guess = {column ? twin : -sum & (PAGE - 1), above, is_signed ? -sum : older},
        .vague = column ? 0 : -(uint64_t)PAGE,
        .at = sum,
    };

    value = is_signed ? numbers_signed(model, coder, &number, value) : numbers_unsigned(model, coder, &number, value);
    rows->older[column] = above;
    rows->last[column] = value;
    rows->sum[column] += value;
    return value;
}

/* Code the number at `cell`, in place. Gives 0 if it then has more than 63 bits. */
static int code_in_place(Rows *rows, const Shape *shape, Numbers *model, Coder *coder, uint32_t column, uint64_t *cell)
{
    uint32_t is_signed = shape->is_signed >> column & 1;
    uint64_t value = code_cell(rows, shape, model, coder, column, is_signed ? unfold(*cell) : *cell);

    if (coder->decoding)
        *cell = is_signed ? fold(value) : value;
    return *cell >> 63 == 0;
}

static int code_rows(Numbers *model, Coder *coder, const Shape *shape, uint64_t *numbers, size_t count)
{
    Rows rows = {0};
    size_t each = count / shape->columns;
    int is_sound = 1;

    for (size_t row = 0; row < each; row++)
        for (uint32_t column = 0; column < shape->columns; column++)
            is_sound &= code_in_place(&rows, shape, model, coder, column, &numbers[column * each + row]);
    for (size_t at = each * shape->columns; at < count; at++)
        is_sound &= code_in_place(&rows, shape, model, coder, shape->columns, &numbers[at]);
    return is_sound;
}

/* Rows of copies: size, gap, step of the shift. Rows of runs are alike: gap, step from where the run before ended in the
   base, size; their shift steps by the gap less. */
static int code_copies(Tables *model, Coder *coder, TableName table, uint64_t *numbers, size_t count)
{
    size_t rows = count / 3;
    int is_sound = count % 3 == 0, are_runs = table == TABLE_RUNS;
    uint64_t *sizes = numbers + (are_runs ? 2 * rows : 0), *gaps = numbers + (are_runs ? 0 : rows);
    uint64_t *steps = numbers + (are_runs ? rows : 2 * rows);

    for (size_t row = 0; row < rows; row++) {
        Copy copy = {0};
        if (!coder->decoding)
            copy = (Copy){sizes[row], gaps[row], unfold(steps[row]) - (are_runs ? gaps[row] : 0)};
        is_sound &= copies_row(&model->copies, &model->numbers, coder, &copy);
        if (coder->decoding) {
            sizes[row] = copy.size;
            gaps[row] = copy.gap;
            steps[row] = fold(copy.step + (are_runs ? copy.gap : 0));
        }
        is_sound &= steps[row] >> 63 == 0;
    }
    return is_sound;
}

int tables_code(Tables *model, Coder *coder, TableName table, uint64_t *numbers, size_t count)
{
    numbers_start(&model->numbers);
    int is_sound = shapes[table].columns ? code_rows(&model->numbers, coder, &shapes[table], numbers, count)
                                         : code_copies(model, coder, table, numbers, count);
    return is_sound && !model->numbers.is_lost;
}
