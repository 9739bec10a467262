package libnetwork

import "github.com/libnetwork/libnetwork/internal/engine"

// The errors that name an object. They are returned as they stand here: the
// struct types as pointers, the others as values.
type (
	// ErrNoSuchNetwork is returned when a network query finds no result. Class
	// NotFound.
	ErrNoSuchNetwork = engine.ErrNoSuchNetwork
	// ErrNoSuchEndpoint is returned when an endpoint query finds no result. Class
	// NotFound.
	ErrNoSuchEndpoint = engine.ErrNoSuchEndpoint
	// ErrInvalidNetworkDriver is returned for a plugin that registered no driver
	// of the wanted name. Class BadRequest.
	ErrInvalidNetworkDriver = engine.ErrInvalidNetworkDriver
	// ErrInvalidID is returned when an object is asked for by an empty id. Class
	// BadRequest.
	ErrInvalidID = engine.ErrInvalidID
	// ErrInvalidName is returned for an empty or blank name. Class BadRequest.
	ErrInvalidName = engine.ErrInvalidName
	// NetworkNameError is returned for the name of a network that is taken. Class
	// Forbidden.
	NetworkNameError = engine.NetworkNameError
	// UnknownNetworkError is returned by the deletion of a network that is gone.
	// Class NotFound.
	UnknownNetworkError = engine.UnknownNetworkError
	// UnknownEndpointError is returned by an operation on an endpoint that is gone.
	// Class NotFound.
	UnknownEndpointError = engine.UnknownEndpointError
	// ActiveEndpointsError is returned by the deletion of a network that has
	// endpoints. Class Forbidden.
	ActiveEndpointsError = engine.ActiveEndpointsError
	// ActiveContainerError is returned by the deletion of an endpoint that is
	// joined to a sandbox. Class Forbidden.
	ActiveContainerError = engine.ActiveContainerError
)

// The errors that follow belong to the published API and are returned by nothing
// at present.

// ErrInvalidJoin is for an endpoint that is joined already. Class BadRequest.
type ErrInvalidJoin struct{}

func (ErrInvalidJoin) Error() string { return "the endpoint is joined to a sandbox already" }

// BadRequest is the class of the error.
func (ErrInvalidJoin) BadRequest() {}

// ErrNoContainer is for an endpoint that is joined to no sandbox. Class Maskable.
type ErrNoContainer struct{}

func (ErrNoContainer) Error() string { return "the endpoint is not joined to a sandbox" }

// Maskable is the class of the error.
func (ErrNoContainer) Maskable() {}

// ErrInvalidConfigFile is for a configuration file that cannot be read.
type ErrInvalidConfigFile string

func (e ErrInvalidConfigFile) Error() string { return "invalid configuration file " + string(e) }

// NetworkTypeError is for a type of network that is not known. Class NotFound.
type NetworkTypeError string

func (e NetworkTypeError) Error() string { return "unknown network type " + string(e) }

// NotFound is the class of the error.
func (NetworkTypeError) NotFound() {}

// InvalidContainerIDError is for a container id that cannot be. Class BadRequest.
type InvalidContainerIDError string

func (e InvalidContainerIDError) Error() string { return "invalid container id " + string(e) }

// BadRequest is the class of the error.
func (InvalidContainerIDError) BadRequest() {}
