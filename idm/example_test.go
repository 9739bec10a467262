package idm_test

import (
	"fmt"
	"log"

	"github.com/libnetwork/libnetwork/idm"
)

// Numbers of tunnels: the lowest free one, or a certain one.
func Example() {
	ids, err := idm.New(nil, "tunnels", 256, 258)
	if err != nil {
		log.Fatal(err)
	}
	if err := ids.GetSpecificID(257); err != nil {
		log.Fatal(err)
	}
	for {
		id, err := ids.GetID()
		if err != nil {
			fmt.Println("no more")
			break
		}
		fmt.Println(id)
	}
	ids.Release(257)
	id, _ := ids.GetID()
	fmt.Println(id)
	// Output:
	// 256
	// 258
	// no more
	// 257
}
