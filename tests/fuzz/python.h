/* What csrc/ asks of Python, in a process without one. */
#include <stdint.h>

typedef struct { int unused; } PyObject;
typedef int PyGILState_STATE;

static int Py_IsInitialized(void) { return 1; }
static PyGILState_STATE PyGILState_Ensure(void) { return 0; }
static void PyGILState_Release(PyGILState_STATE state) { (void)state; }
static void PyErr_Fetch(PyObject **type, PyObject **value, PyObject **traceback)
{
    *type = *value = *traceback = NULL;
}
static void PyErr_Restore(PyObject *type, PyObject *value, PyObject *traceback)
{
    (void)type, (void)value, (void)traceback;
}
static int Py_AddPendingCall(int (*call)(void *), void *arg)
{
    (void)call, (void)arg;
    return -1; /* as when too much is pending: the next handshake delivers it */
}
