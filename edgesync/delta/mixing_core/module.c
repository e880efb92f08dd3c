/* edgesync.delta._mixing: the models as functions from bytes to bytes. What they mean, _mixing.pyi says. */

#include "binding.h"
#include "leb128.h"
#include "tables.h"

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

static int prepare(PyObject *Py_UNUSED(module))
{
    model_prepare();
    return 0;
}

static PyMethodDef methods[] = {
    {"encode_table", encode_table, METH_VARARGS, NULL},
    {"decode_table", decode_table, METH_VARARGS, NULL},
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
