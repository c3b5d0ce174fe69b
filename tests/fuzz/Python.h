/* What the package's C files ask of Python, in a process without one: no dict has a number in it. */
#include <stddef.h>

typedef struct { int unused; } PyObject;
typedef int PyGILState_STATE;

static inline int Py_IsInitialized(void) { return 1; }
static inline PyGILState_STATE PyGILState_Ensure(void) { return 0; }
static inline void PyGILState_Release(PyGILState_STATE state) { (void)state; }
static inline void Py_IncRef(PyObject *object) { (void)object; }
static inline void Py_XDECREF(PyObject *object) { (void)object; }
static inline PyObject *PyLong_FromVoidPtr(void *number) { (void)number; return NULL; }
static inline int PyDict_DelItem(PyObject *dict, PyObject *key) { (void)dict, (void)key; return -1; }
static inline void PyErr_Clear(void) {}
static inline void PyErr_Fetch(PyObject **type, PyObject **value, PyObject **traceback)
{
    *type = *value = *traceback = NULL;
}
static inline void PyErr_Restore(PyObject *type, PyObject *value, PyObject *traceback)
{
    (void)type, (void)value, (void)traceback;
}
