/*
 * sys.unraisablehook cannot be called from Python with what it wants, so C does it. Both arguments
 * are addresses of Python objects that the caller holds.
 */
#include <Python.h>
#include "openssl_tickets.h"

void openssl_tickets_write_unraisable(void *exception, void *object)
{
    PyGILState_STATE state = PyGILState_Ensure();

    /* PyErr_SetObject would take what the caller is handling for the exception's context. */
    Py_IncRef((PyObject *)Py_TYPE((PyObject *)exception));
    Py_IncRef((PyObject *)exception);
    PyErr_Restore((PyObject *)Py_TYPE((PyObject *)exception), (PyObject *)exception,
                  PyException_GetTraceback((PyObject *)exception));
    PyErr_WriteUnraisable((PyObject *)object);
    PyGILState_Release(state);
}
