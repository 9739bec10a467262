// Package netns makes, finds and removes network namespaces that are pinned to
// files, and opens sockets in them. It is the one place that enters one.
//
// A namespace is entered only to open something, on a locked thread that is
// back in the namespace it came from, which is verified, before anything else
// runs on it; a thread that cannot go back ends. Sockets keep their namespace,
// so what is opened inside is used from anywhere.
//
// All functions and methods are safe for concurrent use, but two calls for one
// path are not. On systems other than Linux every call fails with an error of
// class NotImplemented.
package netns
