/* What every function from bytes to bytes needs of Python: memory for a model, room for a stream, and how it ends. */

#ifndef EDGESYNC_MIXING_BINDING_H
#define EDGESYNC_MIXING_BINDING_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030a0000
#include <Python.h>

#include "coder.h"

enum { LINE = 64 }; /* bytes of a line of the cache, on whose boundaries models stand */

/* Zeroed memory on a boundary; `*memory` is what PyMem_Free takes. NULL with MemoryError. */
static inline void *new_model(size_t size, void **memory)
{
    *memory = PyMem_Calloc(1, size + LINE - 1);
    if (!*memory)
        return PyErr_NoMemory();
    return (void *)(((uintptr_t)*memory + LINE - 1) & ~(uintptr_t)(LINE - 1));
}

/* An encoder's room for `most` bytes. NULL with ValueError or MemoryError. */
static inline uint8_t *new_room(Py_ssize_t most)
{
    if (most < 0)
        return (void *)PyErr_Format(PyExc_ValueError, "there is no room of %zd bytes", most);
    uint8_t *room = PyMem_Malloc((size_t)most);
    return room ? room : (void *)PyErr_NoMemory();
}

/* Bytes for a decoder to fill. NULL with ValueError or MemoryError. */
static inline PyObject *new_data(Py_ssize_t size)
{
    if (size < 0)
        return PyErr_Format(PyExc_ValueError, "there is no data of %zd bytes", size);
    return PyBytes_FromStringAndSize(NULL, size);
}

/* What was encoded, as bytes, or None where it did not fit. Frees the room. */
static inline PyObject *encoded(Coder *coder)
{
    size_t size = coder_finish(coder);
    int fits = size <= coder->size;
    PyObject *stream = fits ? PyBytes_FromStringAndSize((char *)coder->to, (Py_ssize_t)size) : Py_NewRef(Py_None);

    PyMem_Free(coder->to);
    return stream;
}

static inline PyObject *damaged(void)
{
    PyErr_SetString(PyExc_ValueError, "the stream is cut off, damaged, or has bytes behind its end");
    return NULL;
}

/* What was decoded; ValueError in its place if the stream is not exactly what encodes it. */
static inline PyObject *decoded(const Coder *coder, PyObject *data)
{
    if (coder_is_whole(coder))
        return data;
    Py_DECREF(data);
    return damaged();
}

#endif
