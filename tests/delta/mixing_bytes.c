/* The smallest model that uses all of the core: each byte is told by the up to three before it. For tests of the core alone,
   without the models of deltas; as an extension with a function for each direction. */

#include "binding.h"
#include "model.h"

enum { BYTES_INPUTS = 4, BYTES_BITS = 14, BYTES_SETS = 2 * 256 };

typedef struct {
    Group groups[1 << BYTES_BITS];
    int32_t weights[BYTES_SETS][BYTES_INPUTS];
} Bytes;

static const Mixing MIXING = {.inputs = BYTES_INPUTS, .learning = 12, .patience = 15};

/* Half a byte, of which `node` tells the half before (16 to 31) or that there is none (1). */
static uint32_t half(Bytes *model, Coder *coder, const uint32_t *contexts, uint32_t node, uint32_t last, uint32_t nibble)
{
    Table table = {model->groups, BYTES_BITS};
    uint32_t set = (node == 1 ? 0 : 256) + last;
    Group *groups[BYTES_INPUTS];

    for (int i = 0; i < BYTES_INPUTS; i++)
        groups[i] = table_find(&table, hash2(contexts[i], node));
    return mix_nibble(coder, MIXING, groups, model->weights[set], nibble);
}

/* Code `size` bytes: read from `bytes` where the coder encodes, written there where it decodes. */
static void bytes_code(Bytes *model, Coder *coder, uint8_t *bytes, size_t size)
{
    uint32_t before = 0; /* the last four bytes, the youngest lowest */

    mix_start(model->weights[0], BYTES_SETS * BYTES_INPUTS, (1 << WEIGHT_BITS) * 3 / 10);
    for (size_t at = 0; at < size; at++) {
        uint32_t contexts[BYTES_INPUTS];
        for (int order = 0; order < BYTES_INPUTS; order++)
            contexts[order] = hash2(before & ((1u << 8 * order) - 1), (uint32_t)order);
        uint32_t byte = coder->decoding ? 0 : bytes[at];
        uint32_t high = half(model, coder, contexts, 1, before & 0xff, byte >> 4);
        uint32_t low = half(model, coder, contexts, 16 + high, before & 0xff, byte & 15);
        byte = high << 4 | low;
        if (coder->decoding)
            bytes[at] = (uint8_t)byte;
        before = before << 8 | byte;
    }
}

static PyObject *encode_bytes(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *data;
    Py_ssize_t size, most;
    void *memory;

    if (!PyArg_ParseTuple(args, "y#n:encode_bytes", &data, &size, &most))
        return NULL;
    uint8_t *room = new_room(most);
    Bytes *model = room ? new_model(sizeof *model, &memory) : NULL;
    if (!model) {
        PyMem_Free(room);
        return NULL;
    }
    Coder coder = coder_encoding(room, (size_t)most);
    bytes_code(model, &coder, (uint8_t *)data, (size_t)size);
    PyMem_Free(memory);
    return encoded(&coder);
}

static PyObject *decode_bytes(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *stream;
    Py_ssize_t length, size;
    void *memory;

    if (!PyArg_ParseTuple(args, "y#n:decode_bytes", &stream, &length, &size))
        return NULL;
    PyObject *data = new_data(size);
    Bytes *model = data ? new_model(sizeof *model, &memory) : NULL;
    if (!model) {
        Py_XDECREF(data);
        return NULL;
    }
    Coder coder = coder_decoding((const uint8_t *)stream, (size_t)length);
    bytes_code(model, &coder, (uint8_t *)PyBytes_AsString(data), (size_t)size);
    PyMem_Free(memory);
    return decoded(&coder, data);
}

static int prepare(PyObject *Py_UNUSED(module))
{
    model_prepare();
    return 0;
}

static PyMethodDef methods[] = {
    {"encode_bytes", encode_bytes, METH_VARARGS, NULL},
    {"decode_bytes", decode_bytes, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, prepare},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "mixing_bytes",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit_mixing_bytes(void)
{
    return PyModuleDef_Init(&definition);
}
