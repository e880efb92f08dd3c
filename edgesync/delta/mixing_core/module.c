/* edgesync.delta._mixing: the models as functions from bytes to bytes. What they mean, _mixing.pyi says. */

#include "binding.h"
#include "leb128.h"
#include "tables.h"
#include "words.h"

/* Room for the numbers of a table. NULL with ValueError or MemoryError. */
static uint64_t *new_numbers(int table, Py_ssize_t count)
{
    if (table < 0 || table >= TABLES || count < 0 || count > TABLES_NUMBERS)
        return (void *)PyErr_Format(PyExc_ValueError, "there is no table %d of %zd numbers", table, count);
    uint64_t *numbers = PyMem_Calloc((size_t)count, sizeof *numbers);
    return numbers ? numbers : (void *)PyErr_NoMemory();
}

static PyObject *encode_table(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *data;
    Py_ssize_t size, count, most;
    int table, is_told;
    void *memory;

    if (!PyArg_ParseTuple(args, "iy#nn:encode_table", &table, &data, &size, &count, &most))
        return NULL;
    uint64_t *numbers = new_numbers(table, count);
    uint8_t *room = numbers ? new_room(most) : NULL;
    Tables *model = room ? new_model(sizeof *model, &memory) : NULL;
    if (!model) {
        PyMem_Free(room);
        PyMem_Free(numbers);
        return NULL;
    }
    Coder coder = coder_encoding(room, (size_t)most);
    is_told = leb128_read((const uint8_t *)data, (size_t)size, numbers, (size_t)count) &&
              tables_code(model, &coder, (TableName)table, numbers, (size_t)count);
    PyMem_Free(memory);
    PyMem_Free(numbers);
    if (is_told)
        return encoded(&coder);
    PyMem_Free(room);
    return Py_NewRef(Py_None);
}

static PyObject *decode_table(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *stream;
    Py_ssize_t length, count;
    int table, is_sound;
    void *memory;

    if (!PyArg_ParseTuple(args, "iy#n:decode_table", &table, &stream, &length, &count))
        return NULL;
    uint64_t *numbers = new_numbers(table, count);
    Tables *model = numbers ? new_model(sizeof *model, &memory) : NULL;
    if (!model) {
        PyMem_Free(numbers);
        return NULL;
    }
    Coder coder = coder_decoding((const uint8_t *)stream, (size_t)length);
    is_sound = tables_code(model, &coder, (TableName)table, numbers, (size_t)count) && coder_is_whole(&coder);
    PyMem_Free(memory);
    PyObject *data = is_sound ? new_data((Py_ssize_t)leb128_write(numbers, (size_t)count, NULL)) : damaged();
    if (data)
        leb128_write(numbers, (size_t)count, (uint8_t *)PyBytes_AsString(data));
    PyMem_Free(numbers);
    return data;
}

enum { WORDS_MOST = 1 << 18 }; /* of a segment: 1 MiB */

/* A segment in memory of its own, which PyMem_Free takes. `length` is in bytes of each: a kind and a mark, a target and a
   word for each word. NULL with ValueError or MemoryError. */
static Segment *new_segment(const uint8_t *kind, Py_ssize_t kinds, const uint8_t *target, Py_ssize_t targets,
                            const uint8_t *mark, Py_ssize_t marks, const uint8_t *draft, Py_ssize_t drafts)
{
    size_t count = (size_t)kinds;

    if (kinds > WORDS_MOST || marks != kinds || targets != 4 * kinds || drafts != 4 * kinds)
        return (void *)PyErr_Format(PyExc_ValueError, "there is no segment of %zd words", kinds);
    Segment *segment = PyMem_Calloc(1, sizeof *segment + (BEFORE + 2 * count) * sizeof *segment->word + 2 * count);
    if (!segment)
        return (void *)PyErr_NoMemory();
    uint32_t *before = (uint32_t *)(segment + 1), *targeted = before + BEFORE + count;
    uint8_t *bytes = (uint8_t *)(targeted + count);
    *segment = (Segment){.count = (uint32_t)count, .kind = bytes, .target = targeted, .mark = bytes + count,
                         .word = before + BEFORE};
    memcpy(bytes, kind, count);
    memcpy(bytes + count, mark, count);
    words_read(targeted, target, count);
    words_read(segment->word, draft, count);
    return segment;
}

static PyObject *encode_words(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *kind, *target, *mark, *draft, *result;
    Py_ssize_t kinds, targets, marks, drafts, size, most;
    void *memory;

    if (!PyArg_ParseTuple(args, "y#y#y#y#y#n:encode_words", &kind, &kinds, &target, &targets, &mark, &marks, &draft,
                          &drafts, &result, &size, &most))
        return NULL;
    Segment *segment = new_segment((const uint8_t *)kind, kinds, (const uint8_t *)target, targets, (const uint8_t *)mark,
                                   marks, (const uint8_t *)draft, drafts);
    uint32_t *wanted = segment && size == drafts ? PyMem_Calloc((size_t)size + 1, 1) : NULL;
    uint8_t *room = wanted ? new_room(most) : NULL;
    Words *model = room ? new_model(sizeof *model, &memory) : NULL;
    if (!model) {
        PyMem_Free(room);
        PyMem_Free(wanted);
        PyMem_Free(segment);
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "a result of %zd bytes", size);
    }
    words_read(wanted, (const uint8_t *)result, segment->count);
    segment->result = wanted;
    Coder coder = coder_encoding(room, (size_t)most);
    words_code(model, &coder, segment);
    PyMem_Free(memory);
    PyMem_Free(wanted);
    PyMem_Free(segment);
    return encoded(&coder);
}

static PyObject *decode_words(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *stream, *kind, *target, *mark, *draft;
    Py_ssize_t length, kinds, targets, marks, drafts;
    void *memory;

    if (!PyArg_ParseTuple(args, "y#y#y#y#y#:decode_words", &stream, &length, &kind, &kinds, &target, &targets, &mark,
                          &marks, &draft, &drafts))
        return NULL;
    Segment *segment = new_segment((const uint8_t *)kind, kinds, (const uint8_t *)target, targets, (const uint8_t *)mark,
                                   marks, (const uint8_t *)draft, drafts);
    Words *model = segment ? new_model(sizeof *model, &memory) : NULL;
    if (!model) {
        PyMem_Free(segment);
        return NULL;
    }
    Coder coder = coder_decoding((const uint8_t *)stream, (size_t)length);
    words_code(model, &coder, segment);
    PyMem_Free(memory);
    PyObject *data = coder_is_whole(&coder) ? new_data(drafts) : damaged();
    if (data)
        words_write((uint8_t *)PyBytes_AsString(data), segment->word, segment->count);
    PyMem_Free(segment);
    return data;
}

static int prepare(PyObject *Py_UNUSED(module))
{
    model_prepare();
    return 0;
}

static PyMethodDef methods[] = {
    {"encode_table", encode_table, METH_VARARGS, NULL},
    {"decode_table", decode_table, METH_VARARGS, NULL},
    {"encode_words", encode_words, METH_VARARGS, NULL},
    {"decode_words", decode_words, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, prepare},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "edgesync.delta._mixing",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__mixing(void)
{
    return PyModuleDef_Init(&definition);
}
