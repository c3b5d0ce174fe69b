/*
 * Whether a callback on this thread enters the main interpreter, and the builtins of that one are at
 * this address. C code chooses the interpreter by the thread alone. On a thread of a sub-interpreter
 * it could enter an interpreter that libssl's other threads do not enter.
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
