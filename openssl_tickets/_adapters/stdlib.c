/*
 * _ssl keeps the address of its own object in the application data of each SSL. object_at() is a
 * Python function that returns the object at such an address. Call it in a callback only, because
 * the object is alive while it is in a call into libssl. It is not a cffi function: cffi would
 * release and take the GIL, which costs more than everything else here.
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
    Py_IncRef(object); /* the function, not the macro: it is also right in a free-threaded Python */
    return object;
}

static PyMethodDef object_at_definition = {"object_at", object_at, METH_O, NULL};

/*
 * Appends object_at to list, the address of a Python list that the caller holds. Returns 1, or 0 if
 * there is no memory.
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
