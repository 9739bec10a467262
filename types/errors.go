package types

import (
	"errors"
	"fmt"
)

// MaskableError is the class of errors that the caller may pass over in silence.
type MaskableError interface {
	// Maskable marks the class.
	Maskable()
}

// RetryError is the class of errors that may go away when the operation is tried
// again.
type RetryError interface {
	// Retry marks the class.
	Retry()
}

// BadRequestError is the class of errors that come from a bad argument.
type BadRequestError interface {
	// BadRequest marks the class.
	BadRequest()
}

// NotFoundError is the class of errors that come from an object that is not there.
type NotFoundError interface {
	// NotFound marks the class.
	NotFound()
}

// ForbiddenError is the class of errors that come from a request that the present
// state does not allow.
type ForbiddenError interface {
	// Forbidden marks the class.
	Forbidden()
}

// NoServiceError is the class of errors that come from something exhausted or not
// reachable.
type NoServiceError interface {
	// NoService marks the class.
	NoService()
}

// TimeoutError is the class of errors that come from waiting too long.
type TimeoutError interface {
	// Timeout marks the class.
	Timeout()
}

// NotImplementedError is the class of errors that come from an operation that does
// not exist here.
type NotImplementedError interface {
	// NotImplemented marks the class.
	NotImplemented()
}

// InternalError is the class of errors that are nobody's fault but ours or the
// system's.
type InternalError interface {
	// Internal marks the class.
	Internal()
}

// BadRequestErrorf makes an error of class BadRequest, and of no other, with the
// text of fmt.Errorf. Without params the text is taken as it is, with no verb
// applied. errors.Is and errors.As reach what %w wraps, except for its class: the
// error made last says the class. All that holds for the other constructors too.
func BadRequestErrorf(format string, params ...interface{}) error {
	return badRequest{newClassed(format, params)}
}

// NotFoundErrorf makes an error of class NotFound; see BadRequestErrorf.
func NotFoundErrorf(format string, params ...interface{}) error {
	return notFound{newClassed(format, params)}
}

// ForbiddenErrorf makes an error of class Forbidden; see BadRequestErrorf.
func ForbiddenErrorf(format string, params ...interface{}) error {
	return forbidden{newClassed(format, params)}
}

// NoServiceErrorf makes an error of class NoService; see BadRequestErrorf.
func NoServiceErrorf(format string, params ...interface{}) error {
	return noService{newClassed(format, params)}
}

// NotImplementedErrorf makes an error of class NotImplemented; see
// BadRequestErrorf.
func NotImplementedErrorf(format string, params ...interface{}) error {
	return notImplemented{newClassed(format, params)}
}

// TimeoutErrorf makes an error of class Timeout; see BadRequestErrorf.
func TimeoutErrorf(format string, params ...interface{}) error {
	return timeout{newClassed(format, params)}
}

// InternalErrorf makes an error of class Internal; see BadRequestErrorf.
func InternalErrorf(format string, params ...interface{}) error {
	return internal{newClassed(format, params)}
}

// InternalMaskableErrorf makes an error of the classes Internal and Maskable; see
// BadRequestErrorf.
func InternalMaskableErrorf(format string, params ...interface{}) error {
	return internalMaskable{newClassed(format, params)}
}

// RetryErrorf makes an error of class Retry; see BadRequestErrorf.
func RetryErrorf(format string, params ...interface{}) error {
	return retry{newClassed(format, params)}
}

type (
	badRequest       struct{ classed }
	notFound         struct{ classed }
	forbidden        struct{ classed }
	noService        struct{ classed }
	notImplemented   struct{ classed }
	timeout          struct{ classed }
	internal         struct{ classed }
	internalMaskable struct{ classed }
	retry            struct{ classed }
)

func (badRequest) BadRequest()         {}
func (notFound) NotFound()             {}
func (forbidden) Forbidden()           {}
func (noService) NoService()           {}
func (notImplemented) NotImplemented() {}
func (timeout) Timeout()               {}
func (internal) Internal()             {}
func (internalMaskable) Internal()     {}
func (internalMaskable) Maskable()     {}
func (retry) Retry()                   {}

// classed is an error below a class. It has no Unwrap, since errors.As would then
// find the class of a cause beside the one that was given on top, and an internal
// error about a missing file would be answered as if the network were missing.
type classed struct{ err error }

func newClassed(format string, params []interface{}) classed {
	if len(params) == 0 {
		return classed{errors.New(format)}
	}
	return classed{fmt.Errorf(format, params...)}
}

// Error returns the text.
func (e classed) Error() string { return e.err.Error() }

// Is finds target among the causes.
func (e classed) Is(target error) bool { return errors.Is(e.err, target) }

// As finds what target points to among the causes, except for a class.
func (e classed) As(target any) bool {
	switch target.(type) {
	case *MaskableError, *RetryError, *BadRequestError, *NotFoundError, *ForbiddenError,
		*NoServiceError, *TimeoutError, *NotImplementedError, *InternalError:
		return false
	}
	return errors.As(e.err, target)
}
