package systemd

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/libnetwork/libnetwork/types"
)

func TestNothingHandedOver(t *testing.T) {
	pid := strconv.Itoa(os.Getpid())
	for _, tt := range []struct{ name, pid, fds string }{
		{"no variables", "", ""},
		{"those of another process", "1", "1"},
		{"no number", pid, "x"},
		{"none", pid, "0"},
		{"too many", pid, "1000000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Open(func(name string) string {
				return map[string]string{"LISTEN_PID": tt.pid, "LISTEN_FDS": tt.fds}[name]
			})
			if err == nil {
				_, err = m.Listeners()
			}
			if !errors.As(err, new(types.BadRequestError)) {
				t.Errorf("got %v", err)
			}
		})
	}
}
