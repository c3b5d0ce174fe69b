/*
 * Calls sys.unraisablehook. Python code cannot make the argument that the hook expects, so C does
 * it. exception and object are the addresses of Python objects that the caller holds.
 */
#include <Python.h>
#include "openssl_tickets.h"

void openssl_tickets_write_unraisable(void *exception, void *object)
{
    PyGILState_STATE state = PyGILState_Ensure();

    /* PyErr_SetObject would set the exception that the caller is handling as the context. */
    Py_IncRef((PyObject *)Py_TYPE((PyObject *)exception));
    Py_IncRef((PyObject *)exception);
    PyErr_Restore((PyObject *)Py_TYPE((PyObject *)exception), (PyObject *)exception,
                  PyException_GetTraceback((PyObject *)exception));
    PyErr_WriteUnraisable((PyObject *)object);
    PyGILState_Release(state);
}
