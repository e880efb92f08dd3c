/* edgesync.delta._mixing: the models as functions from bytes to bytes. What they mean, _mixing.pyi says. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030a0000
#include <Python.h>

#include "bytes.h"
#include "leb128.h"
#include "tables.h"

enum { LINE = 64 }; /* bytes of a line of the cache, on whose boundaries models stand */

/* Zeroed memory on a boundary; `*memory` is what PyMem_Free takes. NULL with MemoryError. */
static void *new_model(size_t size, void **memory)
{
    *memory = PyMem_Calloc(1, size + LINE - 1);
    if (!*memory)
        return PyErr_NoMemory();
    return (void *)(((uintptr_t)*memory + LINE - 1) & ~(uintptr_t)(LINE - 1));
}

/* An encoder's room for `most` bytes. NULL with ValueError or MemoryError. */
static uint8_t *new_room(Py_ssize_t most)
{
    if (most < 0)
        return (void *)PyErr_Format(PyExc_ValueError, "there is no room of %zd bytes", most);
    uint8_t *room = PyMem_Malloc((size_t)most);
    return room ? room : (void *)PyErr_NoMemory();
}

/* Bytes for a decoder to fill. NULL with ValueError or MemoryError. */
static PyObject *new_data(Py_ssize_t size)
{
    if (size < 0)
        return PyErr_Format(PyExc_ValueError, "there is no data of %zd bytes", size);
    return PyBytes_FromStringAndSize(NULL, size);
}

/* What was encoded, as bytes, or None where it did not fit. Frees the room. */
static PyObject *encoded(Coder *coder)
{
    size_t size = coder_finish(coder);
    int fits = size <= coder->size;
    PyObject *stream = fits ? PyBytes_FromStringAndSize((char *)coder->to, (Py_ssize_t)size) : Py_NewRef(Py_None);

    PyMem_Free(coder->to);
    return stream;
}

static PyObject *damaged(void)
{
    PyErr_SetString(PyExc_ValueError, "the stream is cut off, damaged, or has bytes behind its end");
    return NULL;
}

/* What was decoded; ValueError in its place if the stream is not exactly what encodes it. */
static PyObject *decoded(const Coder *coder, PyObject *data)
{
    if (coder_is_whole(coder))
        return data;
    Py_DECREF(data);
    return damaged();
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
    {"encode_bytes", encode_bytes, METH_VARARGS, NULL},
    {"decode_bytes", decode_bytes, METH_VARARGS, NULL},
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
