/*
 * Whether a callback on this thread would enter the main interpreter, and that be the one whose
 * builtins are at the address. C code finds its way into Python by the thread alone: on a thread that
 * runs a sub-interpreter it would come into another one, or where libssl's other threads do not.
 */
#include <Python.h>
#include "openssl_tickets.h"

int openssl_tickets_enters(uintptr_t builtins)
{
    PyGILState_STATE state = PyGILState_Ensure();
    int enters = PyInterpreterState_GetID(PyInterpreterState_Get()) == 0
                 && (uintptr_t)PyEval_GetBuiltins() == builtins;

    PyGILState_Release(state);
    return enters;
}
