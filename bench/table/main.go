// Command table reads the output of benchmarks and prints their metrics as a
// table, one row a benchmark. It fails when a figure is over its limit.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// order puts the columns that matter first; what is not in it comes last.
var order = []string{
	"floor-ms", "up-ms", "up/floor", "up/empty", "down-ms", "down/empty", "ports-up-ms", "ports-down-ms", "up/s", "down/s", "cpu-ms/up", "cpu-ms/container", "create-ms", "create500-ms", "create500/create", "delete-ms",
	"publish-us", "unpublish-us", "publish/empty", "connections/s", "empty/rate", "B/port", "restart-ms", "killed-ms", "cpu-ms", "kernel-writes", "heap-MB",
}

// dropped are units that say nothing here: the loop runs whole containers.
var dropped = []string{"ns/op", "B/op", "allocs/op"}

// limits are what a unit may be at most, in all benchmarks or in the one that is named
// before it: what does not grow with its number stays within 20 %.
var limits = map[string]float64{
	"BesidePorts up/empty": 1.2, "BesidePorts down/empty": 1.2, "create500/create": 1.2, "publish/empty": 1.2, "empty/rate": 1.2,
	"PublishRange/same publish-us": 5000, "PortMemory/daemon/single B/port": 200, "PortMemory/daemon/range B/port": 200, "restart-ms": 1000, "killed-ms": 1000, "kernel-writes": 0,
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run() error {
	var names []string
	rows := make(map[string]map[string]string)
	failed := false
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		f := strings.Fields(in.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			if strings.HasPrefix(in.Text(), "FAIL") || strings.HasPrefix(in.Text(), "---") {
				failed = true
			}
			fmt.Println(in.Text())
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i] // the number of processors
		}
		rows[name] = make(map[string]string)
		names = append(names, name)
		for i := 2; i+1 < len(f); i += 2 {
			rows[name][f[i+1]] = f[i]
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	if failed || len(names) == 0 {
		return fmt.Errorf("a benchmark failed, or none ran")
	}
	return errors.Join(write(names, rows), check(names, rows))
}

// check returns an error for each figure that is over its limit.
func check(names []string, rows map[string]map[string]string) error {
	var over []error
	for _, name := range names {
		for unit, text := range rows[name] {
			limit, ok := limits[name+" "+unit]
			if !ok {
				limit, ok = limits[unit]
			}
			if v, err := strconv.ParseFloat(text, 64); err != nil || ok && v > limit {
				over = append(over, fmt.Errorf("%s: %s %s, which may be %g at most", name, text, unit, limit))
			}
		}
	}
	return errors.Join(over...)
}

func write(names []string, rows map[string]map[string]string) error {
	var units []string
	for _, row := range rows {
		for u := range row {
			if !slices.Contains(units, u) && !slices.Contains(dropped, u) {
				units = append(units, u)
			}
		}
	}
	rank := func(u string) int {
		if i := slices.Index(order, u); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortFunc(units, func(a, b string) int { return rank(a) - rank(b) })
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\t"+strings.Join(units, "\t")+"\t")
	for _, n := range names {
		cells := []string{n}
		for _, u := range units {
			v := rows[n][u]
			if v == "" {
				v = "-"
			}
			cells = append(cells, v)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t")+"\t")
	}
	return w.Flush()
}
