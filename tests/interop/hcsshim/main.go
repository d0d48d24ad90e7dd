// Tells the root that hcsshim computes of each layer named on standard input, one line each:
// the root, or the reason why there is none.
package main

import (
	"bufio"
	"fmt"
	"os"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
)

func main() {
	paths := bufio.NewScanner(os.Stdin)
	for paths.Scan() {
		fmt.Println(root(paths.Text()))
	}
}

func root(path string) (told string) {
	defer func() {
		if fault := recover(); fault != nil {
			told = fmt.Sprintf("refused %q", fmt.Sprint(fault))
		}
	}()
	layer, err := os.Open(path)
	if err != nil {
		return fmt.Sprintf("refused %q", err.Error())
	}
	defer layer.Close()
	digest, err := tar2ext4.ConvertAndComputeRootDigest(layer)
	if err != nil {
		return fmt.Sprintf("refused %q", err.Error())
	}
	return digest
}
