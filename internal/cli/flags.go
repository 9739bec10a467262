package cli

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/types"
)

// ContainerFlags are the flags that say what network a container shall have.
type ContainerFlags struct {
	networks, publish   []string
	hostname            string
	dns, search, option []string
	hosts               []string
	netns               string
}

// AddContainerFlags adds the flags to a set; Request has their meaning once the
// set is parsed.
func AddContainerFlags(fs *pflag.FlagSet) *ContainerFlags {
	f := new(ContainerFlags)
	fs.StringArrayVar(&f.networks, "network", nil,
		"connect to a network, `NET[:ip=..,ip6=..,mac=..,alias=..,priority=..,ifname=..]` (default: the network \"default\")")
	fs.StringArrayVarP(&f.publish, "publish", "p", nil,
		"publish ports, `[HOSTIP:][HOSTPORT[-END]:]PORT[-END][/PROTO]`")
	fs.StringVar(&f.hostname, "hostname", "", "host `name` (default: the name of the container)")
	fs.StringArrayVar(&f.dns, "dns", nil, "name server, an `IP` address")
	fs.StringArrayVar(&f.search, "dns-search", nil, "search `domain`")
	fs.StringArrayVar(&f.option, "dns-option", nil, "resolver `option`")
	fs.StringArrayVar(&f.hosts, "add-host", nil, "line for the hosts file, `NAME:IP`")
	fs.StringVar(&f.netns, "netns", "", "use the network namespace at `PATH`")
	return f
}

// Request turns the flags into a request for a container. It fails with
// BadRequest for what cannot be, and names it.
func (f *ContainerFlags) Request(id string) (api.ContainerCreate, error) {
	req := api.ContainerCreate{
		ID: id, Hostname: f.hostname, DNS: f.dns, DNSSearch: f.search, DNSOptions: f.option, Netns: f.netns,
	}
	for _, s := range f.networks {
		a, err := api.ParseAttachment(s)
		if err != nil {
			return req, err
		}
		req.Networks = append(req.Networks, a)
	}
	for _, s := range f.publish {
		p, err := api.ParsePublish(s)
		if err != nil {
			return req, err
		}
		req.Publish = append(req.Publish, p)
	}
	for _, s := range f.hosts {
		name, ip, found := strings.Cut(s, ":")
		if !found || name == "" || ip == "" {
			return req, types.BadRequestErrorf("--add-host %q is not NAME:IP", s)
		}
		if inner, ok := strings.CutPrefix(ip, "["); ok {
			ip = strings.TrimSuffix(inner, "]")
		}
		req.ExtraHosts = append(req.ExtraHosts, api.ExtraHost{Name: name, Address: ip})
	}
	return req, req.Check()
}
