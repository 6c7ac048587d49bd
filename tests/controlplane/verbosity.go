//go:build !oldest

package main

import (
	"os"

	"k8s.io/component-base/logs"
	kubectl "k8s.io/kubectl/pkg/cmd"
)

// kubectl's own main sets the verbosity before it builds the command, since
// plugins and the .kuberc file are handled while the command is built. The
// kubectl of oldest.mod does not.
func init() {
	setVerbosity = func() { _, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)) }
}
