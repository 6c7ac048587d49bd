//go:build !demo

package main

import (
	"os"

	"k8s.io/component-base/cli"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// The demo does without: nothing in it is collected or replicated, and a tenth of
// what is compiled serves this program alone.
func init() {
	programs["kube-controller-manager"] = func() {
		os.Exit(cli.Run(controllermanager.NewControllerManagerCommand()))
	}
}
