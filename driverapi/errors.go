package driverapi

// ErrNoNetwork is the error for a network, its value, that the driver does not
// know. Its class is NotFound.
type ErrNoNetwork string

// Error says which network it was.
func (e ErrNoNetwork) Error() string { return "network " + string(e) + ": unknown to the driver" }

// NotFound makes it a types.NotFoundError.
func (ErrNoNetwork) NotFound() {}

// ErrEndpointExists is the error for an endpoint, its value, that the driver has
// already. Its class is Forbidden.
type ErrEndpointExists string

// Error says which endpoint it was.
func (e ErrEndpointExists) Error() string { return "endpoint " + string(e) + ": already exists" }

// Forbidden makes it a types.ForbiddenError.
func (ErrEndpointExists) Forbidden() {}

// ErrNotImplemented is the error for what the driver does not do. Its class is
// NotImplemented.
type ErrNotImplemented struct{}

// Error says that it is the driver that does not do it.
func (ErrNotImplemented) Error() string { return "not implemented by the driver" }

// NotImplemented makes it a types.NotImplementedError.
func (ErrNotImplemented) NotImplemented() {}

// ErrNoEndpoint is the error for an endpoint, its value, that the driver does not
// know. Its class is NotFound.
type ErrNoEndpoint string

// Error says which endpoint it was.
func (e ErrNoEndpoint) Error() string { return "endpoint " + string(e) + ": unknown to the driver" }

// NotFound makes it a types.NotFoundError.
func (ErrNoEndpoint) NotFound() {}

// ErrActiveRegistration is the error for a network type, its value, that has a
// driver already. Its class is Forbidden.
type ErrActiveRegistration string

// Error says which network type it was.
func (e ErrActiveRegistration) Error() string {
	return "network type " + string(e) + ": a driver is already registered"
}

// Forbidden makes it a types.ForbiddenError.
func (ErrActiveRegistration) Forbidden() {}
