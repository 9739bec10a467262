package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/libnetwork/libnetwork/types"
)

// Codes of errors, which never change.
const (
	CodeBadRequest     = "bad_request"
	CodeNotFound       = "not_found"
	CodeConflict       = "conflict"
	CodeTimeout        = "timeout"
	CodeNotImplemented = "not_implemented"
	CodeUnavailable    = "unavailable"
	CodeInternal       = "internal"
)

// Error is the body of every answer that is not a success.
type Error struct {
	Message string `json:"message"`
	Code    string `json:"code"`
}

// Code is the code of an error's class. Among joined errors the first one that
// has a class counts.
func Code(err error) string {
	if code := classOf(err); code != "" {
		return code
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return CodeTimeout
	}
	return CodeInternal
}

// classOf is the code of the first error in the tree that has a class.
func classOf(err error) string {
	switch err.(type) { //nolint:errorlint // what it wraps is looked at below, in order
	case types.BadRequestError:
		return CodeBadRequest
	case types.NotFoundError:
		return CodeNotFound
	case types.ForbiddenError:
		return CodeConflict
	case types.TimeoutError:
		return CodeTimeout
	case types.NotImplementedError:
		return CodeNotImplemented
	case types.NoServiceError, types.RetryError:
		// To a client both say: not now.
		return CodeUnavailable
	case types.InternalError:
		return CodeInternal
	}
	switch e := err.(type) { //nolint:errorlint // this is the walk itself
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return classOf(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if code := classOf(inner); code != "" {
				return code
			}
		}
	}
	return ""
}

// Status is the HTTP status of an error's class.
func Status(err error) int {
	switch Code(err) {
	case CodeBadRequest:
		return http.StatusBadRequest
	case CodeNotFound:
		return http.StatusNotFound
	case CodeConflict:
		return http.StatusForbidden
	case CodeTimeout:
		return http.StatusRequestTimeout
	case CodeNotImplemented:
		return http.StatusNotImplemented
	case CodeUnavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// Encode is the body for an error.
func Encode(err error) Error { return Error{Message: err.Error(), Code: Code(err)} }

// Err is the error that a body stands for, in its class. A code that is not
// known is taken for an internal error.
func (e Error) Err() error {
	const format = "%s"
	switch e.Code {
	case CodeBadRequest:
		return types.BadRequestErrorf(format, e.Message)
	case CodeNotFound:
		return types.NotFoundErrorf(format, e.Message)
	case CodeConflict:
		return types.ForbiddenErrorf(format, e.Message)
	case CodeTimeout:
		return types.TimeoutErrorf(format, e.Message)
	case CodeNotImplemented:
		return types.NotImplementedErrorf(format, e.Message)
	case CodeUnavailable:
		return types.NoServiceErrorf(format, e.Message)
	default:
		return types.InternalErrorf(format, e.Message)
	}
}
