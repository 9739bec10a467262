package api

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/ipamapi"
)

func TestJSON(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		msg        interface{}
	}{
		{"wire 1.2 success", `{}`, ReleasePoolResponse{}},
		{"wire 3 error", `{"Error":"no"}`, &ReleaseAddressResponse{Response{Error: "no"}}},
		{"wire 3 GetCapabilities", `{"RequiresMACAddress":true}`, GetCapabilityResponse{RequiresMACAddress: true}},
		{"wire 3 GetDefaultAddressSpaces", `{"LocalDefaultAddressSpace":"l","GlobalDefaultAddressSpace":"g"}`, GetAddressSpacesResponse{LocalDefaultAddressSpace: "l", GlobalDefaultAddressSpace: "g"}},
		{"wire 3 RequestPool", `{"AddressSpace":"l","Pool":"","SubPool":"","Options":null,"V6":false}`, RequestPoolRequest{AddressSpace: "l"}},
		{
			"wire 3 RequestPool response", `{"PoolID":"p","Pool":"10.0.0.0/8","Data":{"com.docker.network.gateway":"10.0.0.1/8"}}`,
			RequestPoolResponse{PoolID: "p", Pool: "10.0.0.0/8", Data: map[string]string{"com.docker.network.gateway": "10.0.0.1/8"}},
		},
		{"wire 3 ReleasePool", `{"PoolID":"p"}`, ReleasePoolRequest{PoolID: "p"}},
		{
			"wire 3 RequestAddress", `{"PoolID":"p","Address":"","Options":{"RequestAddressType":"com.docker.network.gateway"}}`,
			RequestAddressRequest{PoolID: "p", Options: map[string]string{ipamapi.RequestAddressType: "com.docker.network.gateway"}},
		},
		{"wire 3 RequestAddress response", `{"Address":"10.0.0.2/8","Data":null}`, RequestAddressResponse{Address: "10.0.0.2/8"}},
		{"wire 3 ReleaseAddress", `{"PoolID":"p","Address":"10.0.0.2"}`, ReleaseAddressRequest{PoolID: "p", Address: "10.0.0.2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := json.Marshal(tt.msg)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("JSON (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryResponseHasItsError(t *testing.T) {
	for _, r := range []interface {
		GetError() string
		IsSuccess() bool
	}{
		&GetCapabilityResponse{}, &GetAddressSpacesResponse{}, &RequestPoolResponse{}, &ReleasePoolResponse{},
		&RequestAddressResponse{}, &ReleaseAddressResponse{},
	} {
		if !r.IsSuccess() {
			t.Errorf("%T: an empty response is no success", r)
		}
		if err := json.Unmarshal([]byte(`{"Error":"no"}`), r); err != nil || r.GetError() != "no" || r.IsSuccess() {
			t.Errorf("%T: GetError = %q, IsSuccess = %v, %v", r, r.GetError(), r.IsSuccess(), err)
		}
	}
}

func TestToCapability(t *testing.T) {
	for _, want := range []bool{false, true} {
		got := GetCapabilityResponse{RequiresMACAddress: want}.ToCapability()
		if diff := cmp.Diff(&ipamapi.Capability{RequiresMACAddress: want}, got); diff != "" {
			t.Errorf("ToCapability (-want +got):\n%s", diff)
		}
	}
}
