package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience keeps a test that fails from hanging.
const patience = 30 * time.Second

// A program is the file of dnet.
type program string

// TestProxy runs the real program as container engines do.
func TestProxy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dnet")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", file, "-ldflags", "-X main.version=1.2.3", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := program(file)
	t.Run("serves", p.serves)
	t.Run("serves an inherited socket", p.servesInherited)
	t.Run("refuses", p.refuses)
	t.Run("version", p.version)
	t.Run("by hand", p.byHand)
}

// proxy is one that runs.
type proxy struct {
	*exec.Cmd
	status      *os.File // nil: none is handed on
	out, errOut bytes.Buffer
}

// start starts dnet as a container engine does. Files are inherited from number 4
// on.
func (file program) start(t *testing.T, argv []string, files ...*os.File) *proxy {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	if err := r.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	p := &proxy{Cmd: exec.CommandContext(t.Context(), string(file)), status: r}
	p.Args = argv
	p.ExtraFiles = append([]*os.File{w}, files...)
	p.Stdout, p.Stderr = &p.out, &p.errOut
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	return p
}

// report is all that the proxy writes to descriptor 3 until it closes it.
func (p *proxy) report(t *testing.T) string {
	t.Helper()
	all, err := io.ReadAll(p.status)
	if err != nil {
		t.Fatalf("%v; it says %s", err, &p.errOut)
	}
	return string(all)
}

// free returns a port that is free for both protocols and families.
func free(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// server answers with "echo " and what it gets, TCP and UDP on one port of
// 127.0.0.1.
func server(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_, _ = l.Close(), u.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			got, _ := io.ReadAll(c)
			_, _ = fmt.Fprintf(c, "echo %s", got)
			_ = c.Close()
		}
	})
	wg.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := u.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = u.WriteToUDPAddrPort(append([]byte("echo "), buf[:n]...), from)
		}
	})
	return port
}

// ask sends a word and returns the answer.
func ask(t *testing.T, proto, host string, port int) string {
	t.Helper()
	c, err := net.DialTimeout(proto, net.JoinHostPort(host, strconv.Itoa(port)), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		if err := tcp.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(all)
	}
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func flags(proto, hostIP string, hostPort int, containerIP string, containerPort int) []string {
	return []string{
		"-proto", proto, "-host-ip", hostIP, "-host-port", strconv.Itoa(hostPort),
		"-container-ip", containerIP, "-container-port", strconv.Itoa(containerPort),
	}
}

func (file program) serves(t *testing.T) {
	byName, byCommand := []string{"docker-proxy"}, []string{"dnet", "docker-proxy"}
	for _, tt := range []struct {
		name   string
		argv   []string
		proto  string
		hostIP string
		asked  []string
		signal os.Signal
	}{
		{"tcp by argv[0], ends with INT", byName, "tcp", "127.0.0.1", []string{"127.0.0.1"}, syscall.SIGINT},
		{"tcp by the hidden command, ends with TERM", byCommand, "tcp", "127.0.0.1", []string{"127.0.0.1"}, syscall.SIGTERM},
		{"tcp under a path", []string{"/usr/bin/docker-proxy"}, "tcp", "::1", []string{"::1"}, syscall.SIGINT},
		{"udp by argv[0], ends with TERM", byName, "udp", "::1", []string{"::1"}, syscall.SIGTERM},
		{"udp by the hidden command, ends with INT", byCommand, "udp", "127.0.0.1", []string{"127.0.0.1"}, syscall.SIGINT},
		{"tcp 0.0.0.0 is all addresses of both families", byName, "tcp", "0.0.0.0", []string{"127.0.0.1", "127.0.0.2", "::1"}, syscall.SIGINT},
		{"udp 0.0.0.0 is all addresses of both families", byName, "udp", "0.0.0.0", []string{"127.0.0.1", "127.0.0.2", "::1"}, syscall.SIGINT},
		{"tcp no address is the same", byName, "tcp", "", []string{"127.0.0.1", "::1"}, syscall.SIGINT},
		{"tcp :: is IPv6", byName, "tcp", "::", []string{"::1"}, syscall.SIGINT},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target, port := server(t), free(t)
			p := file.start(t, append(tt.argv, flags(tt.proto, tt.hostIP, port, "127.0.0.1", target)...))
			if got := p.report(t); got != "0\n" {
				t.Fatalf("it reports %q, want %q; it says %s", got, "0\n", &p.errOut)
			}
			for _, host := range tt.asked {
				if got := ask(t, tt.proto, host, port); got != "echo hello" {
					t.Errorf("%s answers %q", host, got)
				}
			}
			if err := p.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			if err := p.Wait(); err != nil {
				t.Errorf("it ends with %v: %s", err, &p.errOut)
			}
			if out := p.out.String() + p.errOut.String(); out != "" {
				t.Errorf("it says %q", out)
			}
			c, err := net.Listen("tcp", ":"+strconv.Itoa(port))
			if err != nil {
				t.Errorf("the port is not free: %v", err)
			} else {
				_ = c.Close()
			}
		})
	}
}

func (file program) servesInherited(t *testing.T) {
	for _, proto := range []string{"tcp", "udp"} {
		t.Run(proto, func(t *testing.T) {
			target := server(t)
			var port int
			var sock *os.File
			var err error
			if proto == "tcp" {
				l, lErr := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
				if lErr != nil {
					t.Fatal(lErr)
				}
				defer l.Close()
				port = l.Addr().(*net.TCPAddr).Port
				sock, err = l.File()
			} else {
				c, lErr := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
				if lErr != nil {
					t.Fatal(lErr)
				}
				defer c.Close()
				port = c.LocalAddr().(*net.UDPAddr).Port
				sock, err = c.File()
			}
			if err != nil {
				t.Fatal(err)
			}
			defer sock.Close()
			argv := append([]string{"docker-proxy", "-use-listen-fd"}, flags(proto, "127.0.0.1", port, "127.0.0.1", target)...)
			p := file.start(t, argv, sock)
			if got := p.report(t); got != "0\n" {
				t.Fatalf("it reports %q; it says %s", got, &p.errOut)
			}
			if got := ask(t, proto, "127.0.0.1", port); got != "echo hello" {
				t.Errorf("it answers %q", got)
			}
			if err := errors.Join(p.Process.Signal(syscall.SIGINT), p.Wait()); err != nil {
				t.Error(err)
			}
		})
	}
}

func (file program) refuses(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := int(netip.MustParseAddrPort(taken.Addr().String()).Port())
	for _, tt := range []struct {
		name  string
		flags []string
		want  string // in the text
	}{
		{"sctp", flags("sctp", "127.0.0.1", 1000, "127.0.0.1", 1), `protocol "sctp" is not supported`},
		{"an unknown protocol", flags("icmp", "127.0.0.1", 1000, "127.0.0.1", 1), `protocol "icmp" is not supported`},
		{"a port that is taken", flags("tcp", "127.0.0.1", busy, "127.0.0.1", 1), "address already in use"},
		{"an address that the host does not have", flags("udp", "192.0.2.77", 1000, "127.0.0.1", 1), "cannot assign requested address"},
		{"no host port", []string{"-container-ip", "127.0.0.1", "-container-port", "1"}, "-host-port -1"},
		{"no container port", flags("tcp", "127.0.0.1", 1000, "127.0.0.1", -1), "-container-port -1"},
		{"no container address", flags("tcp", "127.0.0.1", 1000, "", 1), "-container-ip"},
		{"no address", flags("tcp", "localhost", 1000, "127.0.0.1", 1), "-host-ip"},
		{"an unknown flag", []string{"-frobnicate"}, "-frobnicate"},
		{"arguments", []string{"8080"}, "8080"},
		{"a socket that is not there", append(flags("tcp", "", 1000, "127.0.0.1", 1), "-use-listen-fd"), "descriptor 4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := file.start(t, append([]string{"docker-proxy"}, tt.flags...))
			got := p.report(t)
			if !strings.HasPrefix(got, "1\n") || !strings.Contains(got, tt.want) {
				t.Errorf("it reports %q, want 1 and a text with %q", got, tt.want)
			}
			if err := p.Wait(); p.ProcessState.ExitCode() != 1 {
				t.Errorf("it ends with %v, want exit code 1", err)
			}
		})
	}
	t.Run("a socket of the other kind", func(t *testing.T) {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		sock, err := c.File()
		if err != nil {
			t.Fatal(err)
		}
		defer sock.Close()
		p := file.start(t, append([]string{"docker-proxy", "-use-listen-fd"}, flags("tcp", "", 1000, "127.0.0.1", 1)...), sock)
		if got := p.report(t); !strings.HasPrefix(got, "1\n") || !strings.Contains(got, "descriptor 4") {
			t.Errorf("it reports %q", got)
		}
		if err := p.Wait(); p.ProcessState.ExitCode() != 1 {
			t.Errorf("it ends with %v, want exit code 1", err)
		}
	})
}

func (file program) version(t *testing.T) {
	for _, flag := range []string{"-v", "-version", "--version"} {
		p := file.start(t, []string{"docker-proxy", flag})
		_ = p.report(t)
		if err := p.Wait(); err != nil || p.out.String() != "dnet 1.2.3\n" {
			t.Errorf("%s: %q, %v", flag, &p.out, err)
		}
	}
}

// Started by hand there is no descriptor 3: what fails is said on standard error.
func (file program) byHand(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), string(file), append([]string{"docker-proxy"}, flags("sctp", "", 1000, "127.0.0.1", 1)...)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "sctp") {
		t.Errorf("%v: %s", err, out)
	}
	cmd = exec.CommandContext(t.Context(), string(file), "docker-proxy", "-help")
	out, err = cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "-container-ip") {
		t.Errorf("%v: %s", err, out)
	}
}
