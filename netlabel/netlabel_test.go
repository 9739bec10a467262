package netlabel

import (
	"strings"
	"testing"
)

func TestValues(t *testing.T) {
	for want, got := range map[string]string{
		"com.docker.network":                                        Prefix,
		"com.docker.network.driver":                                 DriverPrefix,
		"com.docker.network.driver.private":                         DriverPrivatePrefix,
		"com.docker.network.generic":                                GenericData,
		"com.docker.network.portmap":                                PortMap,
		"com.docker.network.endpoint.macaddress":                    MacAddress,
		"com.docker.network.endpoint.exposedports":                  ExposedPorts,
		"com.docker.network.enable_ipv6":                            EnableIPv6,
		"com.docker.network.driver.mtu":                             DriverMTU,
		"com.docker.network.driver.overlay.bind_interface":          OverlayBindInterface,
		"com.docker.network.driver.overlay.neighbor_ip":             OverlayNeighborIP,
		"com.docker.network.gateway":                                Gateway,
		"com.docker.network.internal":                               Internal,
		"com.docker.network.driver.privateglobalkv_provider":        GlobalKVProvider,
		"com.docker.network.driver.privateglobalkv_provider_url":    GlobalKVProviderURL,
		"com.docker.network.driver.privateglobalkv_provider_config": GlobalKVProviderConfig,
		"com.docker.network.driver.privateglobalkv_client":          GlobalKVClient,
		"com.docker.network.driver.privatelocalkv_provider":         LocalKVProvider,
		"com.docker.network.driver.privatelocalkv_provider_url":     LocalKVProviderURL,
		"com.docker.network.driver.privatelocalkv_provider_config":  LocalKVProviderConfig,
		"com.docker.network.driver.privatelocalkv_client":           LocalKVClient,
		"com.docker.network.driver.privatemykv_client":              MakeKVClient("my"),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestKeyValue(t *testing.T) {
	for _, tt := range []struct{ label, key, value string }{
		{"a=b", "a", "b"},
		{"a=b=c", "a", "b=c"},
		{"a", "a", ""},
		{"a=", "a", ""},
		{"=b", "", "b"},
		{"", "", ""},
	} {
		t.Run(tt.label, func(t *testing.T) {
			if got := Key(tt.label); got != tt.key {
				t.Errorf("Key = %q, want %q", got, tt.key)
			}
			if got := Value(tt.label); got != tt.value {
				t.Errorf("Value = %q, want %q", got, tt.value)
			}
			if k, v := KeyValue(tt.label); k != tt.key || v != tt.value {
				t.Errorf("KeyValue = %q, %q, want %q, %q", k, v, tt.key, tt.value)
			}
		})
	}
}

// A label is its key, a =, and its value; without a = it is all key.
func FuzzKeyValue(f *testing.F) {
	for _, s := range []string{"a=b=c", "a", "=", "", "com.docker.network.driver.mtu=1400", "a=\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, label string) {
		key, value := KeyValue(label)
		if key != Key(label) || value != Value(label) || strings.Contains(key, "=") {
			t.Fatalf("%q: %q and %q, or %q and %q", label, key, value, Key(label), Value(label))
		}
		if whole := key + "=" + value; whole != label && (key != label || value != "") {
			t.Fatalf("%q is %q and %q", label, key, value)
		}
	})
}
