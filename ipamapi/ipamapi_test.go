package ipamapi

import (
	"errors"
	"fmt"
	"testing"

	"github.com/libnetwork/libnetwork/types"
)

func TestNames(t *testing.T) {
	t.Run("IP-2 the names are default, IpamDriver and RequestAddressType", func(t *testing.T) {
		if DefaultIPAM != "default" || PluginEndpointType != "IpamDriver" || RequestAddressType != "RequestAddressType" {
			t.Errorf("names are %q, %q, %q", DefaultIPAM, PluginEndpointType, RequestAddressType)
		}
	})
}

func is[T any](err error) bool {
	_, ok := err.(T)
	return ok && errors.As(fmt.Errorf("wrapped: %w", err), new(T))
}

func TestErrorClasses(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		is   func(error) bool
	}{
		{"ErrIpamInternalError", ErrIpamInternalError, is[types.InternalError]},
		{"ErrInvalidAddressSpace", ErrInvalidAddressSpace, is[types.BadRequestError]},
		{"ErrInvalidPool", ErrInvalidPool, is[types.BadRequestError]},
		{"ErrInvalidSubPool", ErrInvalidSubPool, is[types.BadRequestError]},
		{"ErrInvalidRequest", ErrInvalidRequest, is[types.BadRequestError]},
		{"ErrPoolNotFound", ErrPoolNotFound, is[types.BadRequestError]},
		{"ErrOverlapPool", ErrOverlapPool, is[types.ForbiddenError]},
		{"ErrNoAvailablePool", ErrNoAvailablePool, is[types.NoServiceError]},
		{"ErrNoAvailableIPs", ErrNoAvailableIPs, is[types.NoServiceError]},
		{"ErrIPAlreadyAllocated", ErrIPAlreadyAllocated, is[types.ForbiddenError]},
		{"ErrIPOutOfRange", ErrIPOutOfRange, is[types.BadRequestError]},
		{"ErrPoolOverlap", ErrPoolOverlap, is[types.ForbiddenError]},
		{"ErrBadPool", ErrBadPool, is[types.BadRequestError]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !tt.is(tt.err) {
				t.Errorf("%T %v is of another class", tt.err, tt.err)
			}
		})
	}
}

func TestErrorsAreRecognised(t *testing.T) {
	t.Run("IP-4 class and identity of an error survive wrapping", func(t *testing.T) {
		for _, want := range []error{ErrNoAvailableIPs, ErrIPOutOfRange} {
			err := types.InternalErrorf("pool 10.0.0.0/8: %w", want)
			if !errors.Is(err, want) || !is[types.InternalError](err) {
				t.Errorf("%v is not recognised in %v", want, err)
			}
		}
		if errors.Is(types.InternalErrorf("x: %w", ErrIPOutOfRange), ErrInvalidPool) || errors.Is(ErrOverlapPool, ErrPoolOverlap) {
			t.Error("one error is taken for another")
		}
	})
}
