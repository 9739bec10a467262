package model

// A SocketKeeper keeps sockets from one process to the next one, as a service manager does:
// what the kernel gives up with the last owner of a socket it does not give up then.
type SocketKeeper interface {
	// Kept returns the socket that an earlier process has had kept by a name, if there is
	// one. It stays the keeper's: who uses it takes a duplicate.
	Kept(name string) (fd int, ok bool)
	// Keep has a socket of this process kept, in the place of an earlier one of that name.
	Keep(name string, fd int) error
}
