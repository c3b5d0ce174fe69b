/*
 * _ssl keeps the address of its own object in the application data of each SSL, and the object is
 * alive for as long as it is in a call into libssl. To be called then, which is in a callback.
 *
 * Appends that object to list, the address of a Python list that the caller holds. Returns 1, or 0
 * where there is none or no memory.
 */
static int openssl_tickets_append_sslobj(SSL *ssl, uintptr_t list)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *sslobj = SSL_get_app_data(ssl);
    int appended = sslobj != NULL && PyList_Append((PyObject *)list, sslobj) == 0;

    if (!appended)
        PyErr_Clear();
    PyGILState_Release(state);
    return appended;
}
