package libnetwork_test

import (
	"fmt"
	"log"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// Two containers on a network: the first one publishes a port and goes by the name
// of its endpoint, the second one resolves it. It needs root.
func Example() {
	controller, err := libnetwork.New(config.OptionDataDir("/var/lib/runner"))
	if err != nil {
		log.Fatal(err)
	}
	defer controller.Stop()

	network, err := controller.NewNetwork("bridge", "web", libnetwork.NetworkOptionIpam("", "",
		[]*libnetwork.IpamConf{{PreferredPool: "172.30.0.0/24"}}, nil, nil))
	if err != nil {
		log.Fatal(err)
	}
	defer network.Delete()

	// run gives a container its network. Its processes are started in the namespace
	// of sandbox.Key.
	run := func(name string, options ...libnetwork.SandboxOption) libnetwork.Sandbox {
		sandbox, err := controller.NewSandbox(name, append(options, libnetwork.OptionHostname(name))...)
		if err != nil {
			log.Fatal(err)
		}
		endpoint, err := network.CreateEndpoint(name)
		if err != nil {
			log.Fatal(err)
		}
		if err := endpoint.Join(sandbox); err != nil {
			log.Fatal(err)
		}
		return sandbox
	}
	api := run("api", libnetwork.OptionPortMapping([]types.PortBinding{{Proto: types.TCP, Port: 80, HostPort: 8080}}))
	defer api.Delete()
	client := run("client")
	defer client.Delete()

	endpoint := api.Endpoints()[0]
	fmt.Println("address:", endpoint.Info().Iface().Address())
	fmt.Println("gateway:", endpoint.Info().Gateway())
	info, err := endpoint.DriverInfo()
	if err != nil {
		log.Fatal(err)
	}
	for _, b := range info[netlabel.PortMap].([]types.PortBinding) {
		fmt.Println("published:", b.HostPort, "to", b.Port)
	}
	addresses, _ := client.ResolveName("api", 1)
	fmt.Println("api is at", addresses[0])
}
