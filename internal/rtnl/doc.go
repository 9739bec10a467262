// Package rtnl makes, changes, deletes and lists links, addresses, routes and
// neighbours over rtnetlink.
//
// A [Socket] belongs to one network namespace, whichever thread uses it, and is
// safe for concurrent use: calls take turns. Several requests go to the kernel
// in one system call, so an operation that makes a link with all that belongs
// to it costs two or three of them. The kernel does not undo the other requests
// of a batch when one fails; the operations that make something do.
//
// Calls do not wait for anything but the kernel's own lock, so a context is
// looked at only before each batch.
package rtnl
