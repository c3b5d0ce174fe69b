/*
 * _ssl keeps the address of its own object in the application data of each SSL, and the object is
 * alive for as long as it is in a call into libssl. This function of Python's makes an object of an
 * address again, and is to be called then, which is in a callback. (A function of cffi's would let
 * go of the GIL and take it again, which costs more than all else that is done here.)
 */
#include <Python.h>
#include "openssl_tickets.h"

static PyObject *object_at(PyObject *self, PyObject *address)
{
    PyObject *object = PyLong_AsVoidPtr(address);

    (void)self;
    if (object == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, address);
        return NULL;
    }
    Py_IncRef(object); /* a function of the interpreter that runs: right in a free-threaded one, too */
    return object;
}

static PyMethodDef object_at_definition = {"object_at", object_at, METH_O, NULL};

/*
 * Appends that function to list, the address of a Python list that the caller holds. Returns 1, or
 * 0 when there is no memory.
 */
int openssl_tickets_append_object_at(uintptr_t list)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *function = PyCFunction_New(&object_at_definition, NULL);
    int appended = function != NULL && PyList_Append((PyObject *)list, function) == 0;

    Py_XDECREF(function);
    if (!appended)
        PyErr_Clear();
    PyGILState_Release(state);
    return appended;
}
