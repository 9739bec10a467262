package engine

import "fmt"

// The error types below are published by the root package under the same names.

// ErrNoSuchNetwork is returned when a network query finds no result. Class
// NotFound.
type ErrNoSuchNetwork string

func (e ErrNoSuchNetwork) Error() string { return fmt.Sprintf("network %s not found", string(e)) }

// NotFound is the class of the error.
func (ErrNoSuchNetwork) NotFound() {}

// ErrNoSuchEndpoint is returned when an endpoint query finds no result. Class
// NotFound.
type ErrNoSuchEndpoint string

func (e ErrNoSuchEndpoint) Error() string { return fmt.Sprintf("endpoint %s not found", string(e)) }

// NotFound is the class of the error.
func (ErrNoSuchEndpoint) NotFound() {}

// ErrInvalidNetworkDriver is returned for a plugin that registered no driver
// of the wanted name. Class BadRequest.
type ErrInvalidNetworkDriver string

func (e ErrInvalidNetworkDriver) Error() string {
	return fmt.Sprintf("plugin %s has registered no network driver of that name", string(e))
}

// BadRequest is the class of the error.
func (ErrInvalidNetworkDriver) BadRequest() {}

// ErrInvalidID is returned when an object is asked for by an empty id. Class
// BadRequest.
type ErrInvalidID string

func (e ErrInvalidID) Error() string { return fmt.Sprintf("invalid id %q", string(e)) }

// BadRequest is the class of the error.
func (ErrInvalidID) BadRequest() {}

// ErrInvalidName is returned for an empty or blank name. Class BadRequest.
type ErrInvalidName string

func (e ErrInvalidName) Error() string { return fmt.Sprintf("invalid name %q", string(e)) }

// BadRequest is the class of the error.
func (ErrInvalidName) BadRequest() {}

// NetworkNameError is returned for the name of a network that another network
// of the same scope has. Class Forbidden.
type NetworkNameError string

func (e NetworkNameError) Error() string {
	return fmt.Sprintf("network %s exists already: choose another name, or delete it first", string(e))
}

// Forbidden is the class of the error.
func (NetworkNameError) Forbidden() {}

// UnknownNetworkError is returned by the deletion of a network that is gone.
// Class NotFound.
type UnknownNetworkError struct{ name, id string }

func (e *UnknownNetworkError) Error() string {
	return fmt.Sprintf("network %s (id %s) does not exist any more", e.name, short(e.id))
}

// NotFound is the class of the error.
func (*UnknownNetworkError) NotFound() {}

// UnknownEndpointError is returned by an operation on an endpoint that is
// gone. Class NotFound.
type UnknownEndpointError struct{ name, id string }

func (e *UnknownEndpointError) Error() string {
	return fmt.Sprintf("endpoint %s (id %s) does not exist any more", e.name, short(e.id))
}

// NotFound is the class of the error.
func (*UnknownEndpointError) NotFound() {}

// ActiveEndpointsError is returned by the deletion of a network that still has
// endpoints. Class Forbidden.
type ActiveEndpointsError struct {
	name, id  string
	endpoints []string
}

func (e *ActiveEndpointsError) Error() string {
	const most = 5
	list := e.endpoints
	more := ""
	if len(list) > most {
		more = fmt.Sprintf(" and %d more", len(list)-most)
		list = list[:most]
	}
	return fmt.Sprintf("network %s (id %s) has active endpoints: %v%s: delete them first", e.name, short(e.id), list, more)
}

// Forbidden is the class of the error.
func (*ActiveEndpointsError) Forbidden() {}

// ActiveContainerError is returned by the deletion of an endpoint that is
// joined to a sandbox. Class Forbidden.
type ActiveContainerError struct{ name, id, container string }

func (e *ActiveContainerError) Error() string {
	return fmt.Sprintf("endpoint %s (id %s) is joined to container %s: leave it first, or force the deletion",
		e.name, short(e.id), e.container)
}

// Forbidden is the class of the error.
func (*ActiveContainerError) Forbidden() {}

// short is how ids are shown to people.
func short(id string) string { return id[:min(12, len(id))] }
