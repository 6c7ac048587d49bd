// Command controlplane is etcd, kube-apiserver, kube-controller-manager and
// kubectl in one executable.
//
// The tests need a real control plane. The four programs share most of their
// packages, so that one executable is compiled, linked and stored once instead
// of four times.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"

	// The programs' own mains import these for their side effects: the
	// credential plugins of kubectl, the JSON log format, and the metrics of
	// client-go and of the version.
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

var programs = map[string]func(){
	"etcd":           func() { etcdmain.Main(os.Args) },
	"kube-apiserver": func() { os.Exit(cli.Run(apiserver.NewAPIServerCommand())) },
	"kubectl":        runKubectl,
}

func main() {
	if run, ok := programs[filepath.Base(os.Args[0])]; ok {
		run()
		return
	}
	if len(os.Args) > 1 {
		if run, ok := programs[os.Args[1]]; ok {
			// The programs read os.Args themselves, and expect their own name first.
			os.Args = os.Args[1:]
			run()
			return
		}
	}
	fmt.Fprintln(os.Stderr, "usage: controlplane PROGRAM [ARGUMENT...]")
	os.Exit(2)
}

// What kubectl does before it builds its command, where it does anything.
var setVerbosity = func() {}

func runKubectl() {
	setVerbosity()
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		// CheckErr prints the error as kubectl does, and exits.
		kubectlutil.CheckErr(err)
	}
}
