package scenario_test

import (
	"os"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

func TestMain(m *testing.M) {
	if os.Getenv(victimEnv) != "" {
		victim()
	}
	if os.Getenv(daemonEnv) != "" {
		daemon()
		return
	}
	if os.Getenv(poorEnv) != "" {
		poor()
		return
	}
	nstest.Main(m)
}
