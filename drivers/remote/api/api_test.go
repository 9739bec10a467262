package api

import (
	"encoding/json"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/discoverapi"
	"github.com/libnetwork/libnetwork/driverapi"
	"github.com/libnetwork/libnetwork/types"
)

func TestJSON(t *testing.T) {
	pool, err := types.ParseCIDR("172.31.4.0/24")
	if err != nil {
		t.Fatal(err)
	}
	opts := map[string]interface{}{"com.docker.network.enable_ipv6": false}
	ports := map[string]interface{}{"com.docker.network.portmap": []types.PortBinding{{Proto: types.TCP, Port: 80, HostIP: net.IPv4zero, HostPort: 8080, HostPortEnd: 8080}}}
	for _, tt := range []struct {
		name, want string
		msg        interface{}
	}{
		{"wire 1.2 success", `{}`, DeleteNetworkResponse{}},
		{"wire 2 error", `{"Err":"no"}`, &LeaveResponse{Response{Err: "no"}}},
		{"wire 2.1 GetCapabilities", `{"Scope":"local"}`, GetCapabilityResponse{Scope: "local"}},
		{
			"wire 2.1 GetCapabilities of later engines", `{"Scope":"local","ConnectivityScope":"global","GwAllocChecker":true}`,
			GetCapabilityResponse{Scope: "local", ConnectivityScope: "global", GwAllocChecker: true},
		},
		{
			"wire 2.2 CreateNetwork", `{"NetworkID":"n","Options":{"com.docker.network.enable_ipv6":false},"IPv4Data":[{"AddressSpace":"a","Pool":"172.31.4.0/24"}],"IPv6Data":[]}`,
			CreateNetworkRequest{NetworkID: "n", Options: opts, IPv4Data: []driverapi.IPAMData{{AddressSpace: "a", Pool: pool}}, IPv6Data: []driverapi.IPAMData{}},
		},
		{
			"wire 2.3 CreateEndpoint", `{"NetworkID":"n","EndpointID":"e","Interface":{"Address":"172.31.4.9/24","AddressIPv6":"","MacAddress":""},"Options":null}`,
			CreateEndpointRequest{NetworkID: "n", EndpointID: "e", Interface: &EndpointInterface{Address: "172.31.4.9/24"}},
		},
		{"wire 2.3 CreateEndpoint adds nothing", `{"Interface":null}`, CreateEndpointResponse{}},
		{
			"wire 2.4 Join request", `{"NetworkID":"n","EndpointID":"e","SandboxKey":"/run/x","Options":null}`,
			JoinRequest{NetworkID: "n", EndpointID: "e", SandboxKey: "/run/x"},
		},
		{
			"wire 2.4 Join response",
			`{"InterfaceName":{"SrcName":"dnv91c47a","DstName":"","DstPrefix":"eth"},"Gateway":"172.31.4.1","GatewayIPv6":"fd00:4::1",` +
				`"StaticRoutes":[{"Destination":"10.8.0.0/16","RouteType":0,"NextHop":"172.31.4.254"},{"Destination":"10.9.0.0/16","RouteType":1,"NextHop":""}],"DisableGatewayService":false}`,
			JoinResponse{
				InterfaceName: &IfaceName{SrcName: "dnv91c47a", DstPrefix: "eth"}, Gateway: "172.31.4.1", GatewayIPv6: "fd00:4::1",
				StaticRoutes: []StaticRoute{{"10.8.0.0/16", types.NEXTHOP, "172.31.4.254"}, {"10.9.0.0/16", types.CONNECTED, ""}},
			},
		},
		{
			"wire 2.5 ProgramExternalConnectivity",
			`{"NetworkID":"n","EndpointID":"e","Options":{"com.docker.network.portmap":[{"Proto":6,"IP":"","Port":80,"HostIP":"0.0.0.0","HostPort":8080,"HostPortEnd":8080}]}}`,
			ProgramExternalConnectivityRequest{NetworkID: "n", EndpointID: "e", Options: ports},
		},
		{"wire 2.6 EndpointOperInfo", `{"Value":{}}`, EndpointInfoResponse{Value: map[string]interface{}{}}},
		{
			"wire 2.7 DiscoverNew", `{"DiscoveryType":1,"DiscoveryData":{"Address":"192.0.2.1","Self":true}}`,
			DiscoveryNotification{DiscoveryType: discoverapi.NodeDiscovery, DiscoveryData: discoverapi.NodeDiscoveryData{Address: "192.0.2.1", Self: true}},
		},
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
	for _, r := range []interface{ GetError() string }{
		&GetCapabilityResponse{}, &AllocateNetworkResponse{}, &FreeNetworkResponse{}, &GwAllocCheckResponse{},
		&CreateNetworkResponse{}, &DeleteNetworkResponse{}, &CreateEndpointResponse{}, &DeleteEndpointResponse{},
		&EndpointInfoResponse{}, &JoinResponse{}, &LeaveResponse{}, &ProgramExternalConnectivityResponse{},
		&RevokeExternalConnectivityResponse{}, &DiscoveryResponse{},
	} {
		if err := json.Unmarshal([]byte(`{"Err":"no"}`), r); err != nil || r.GetError() != "no" {
			t.Errorf("%T: GetError = %q, %v", r, r.GetError(), err)
		}
	}
}
