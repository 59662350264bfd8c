//! Test servers and scripted models.
