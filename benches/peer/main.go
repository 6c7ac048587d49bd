// Command chancery-bench-peer is what the bench compares Chancery with:
// cert-manager's own controllers for Certificates and, made with issuer-lib, an
// external issuer that signs at once with a CA in memory.
//
// This configuration favours the peer. No webhook is called, no rate limit slows
// its clients, the two halves share a process, and no call to a CA leaves it.
//
// When it is told to end it prints how many certificates its CA signed.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	"github.com/cert-manager/cert-manager/pkg/util/pki"
	"github.com/cert-manager/issuer-lib/api/v1alpha1"
	"github.com/cert-manager/issuer-lib/controllers"
	"github.com/cert-manager/issuer-lib/controllers/signer"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// workers is cert-manager's own default for each of its controllers.
	workers = 5
	// signers is how many requests issuer-lib handles at a time. Its default is
	// one, which everybody can raise and which would make the comparison unfair.
	signers = 10
)

// certificateControllers are those that serve a Certificate of an external
// issuer. cert-manager has more, which would find nothing to do here.
var certificateControllers = []string{
	trigger.ControllerName,
	keymanager.ControllerName,
	requestmanager.ControllerName,
	approver.ControllerName,
	issuing.ControllerName,
	readiness.ControllerName,
	revisionmanager.ControllerName,
}

func main() {
	// A set of its own, because controller-runtime has put --kubeconfig into the
	// common one, and reads it only itself.
	flags := flag.NewFlagSet("chancery-bench-peer", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig of whom to speak as")
	_ = flags.Parse(os.Args[1:])
	ctrl.SetLogger(klog.Background())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	signatures, err := run(ctx, *kubeconfig)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chancery-bench-peer:", err)
		os.Exit(1)
	}
	fmt.Println("signatures:", signatures)
}

// run ends with the context or with the first error, and returns the number of
// certificates that were signed.
//
// The issuer starts when cert-manager's controllers have seen the cluster, so that
// a PeerIssuer that is Ready says that all of the peer is.
func run(ctx context.Context, kubeconfig string) (int64, error) {
	ca, err := newCertificateAuthority()
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	if err := startCertManager(ctx, group, kubeconfig); err != nil {
		return 0, err
	}
	issuer, err := newIssuer(ctx, kubeconfig, ca)
	if err != nil {
		return 0, err
	}
	group.Go(func() error { return issuer.Start(ctx) })
	err = group.Wait()
	return ca.signatures.Load(), err
}

// startCertManager does what cert-manager's own main does with the controllers
// named above, and returns when their caches are filled.
func startCertManager(ctx context.Context, group *errgroup.Group, kubeconfig string) error {
	factory, err := controller.NewContextFactory(ctx, controller.ContextOptions{
		Kubeconfig: kubeconfig,
		// No limit. cert-manager lifts it by itself where the API server announces
		// priority and fairness, which this does not depend on.
		KubernetesAPIQPS: -1,
		// cert-manager's own defaults.
		CertificateOptions: controller.CertificateOptions{
			CertificateRequestMinimumBackoffDuration: time.Hour,
			CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
	})
	if err != nil {
		return err
	}
	root, err := factory.Build()
	if err != nil {
		return err
	}
	for _, name := range certificateControllers {
		control, err := controller.Known()[name](factory)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		group.Go(func() error { return control.Run(workers, ctx) })
	}
	root.SharedInformerFactory.Start(ctx.Done())
	root.KubeSharedInformerFactory.Start(ctx.Done())
	for kind, synced := range root.SharedInformerFactory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("the cache of %s was not filled", kind)
		}
	}
	for kind, synced := range root.KubeSharedInformerFactory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("the cache of %s was not filled", kind)
		}
	}
	return nil
}

// newIssuer sets issuer-lib up as external issuers do.
func newIssuer(ctx context.Context, kubeconfig string, ca *certificateAuthority) (ctrl.Manager, error) {
	restConfig, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	restConfig.QPS = -1
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(peerGroup, &PeerIssuer{}, &PeerIssuerList{})
	metav1.AddToGroupVersion(scheme, peerGroup)
	manager, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:     scheme,
		Metrics:    server.Options{BindAddress: "0"},
		Controller: config.Controller{MaxConcurrentReconciles: signers},
	})
	if err != nil {
		return nil, err
	}
	const name = "chancery-bench-peer"
	err = (&controllers.CombinedController{
		IssuerTypes:      []v1alpha1.Issuer{&PeerIssuer{}},
		FieldOwner:       name,
		MaxRetryDuration: time.Minute,
		Sign:             ca.sign,
		Check:            func(context.Context, v1alpha1.Issuer) error { return nil },
		EventRecorder:    manager.GetEventRecorderFor(name),
		// Nobody makes a CertificateSigningRequest here.
		DisableKubernetesCSRController: true,
	}).SetupWithManager(ctx, manager)
	return manager, err
}

// certificateAuthority signs with a root of its own, and counts.
type certificateAuthority struct {
	key        crypto.Signer
	root       *x509.Certificate
	signatures atomic.Int64
}

func newCertificateAuthority() (*certificateAuthority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "CA of the peer"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(10, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	_, root, err := pki.SignCertificate(template, template, key.Public(), key)
	return &certificateAuthority{key: key, root: root}, err
}

func (ca *certificateAuthority) sign(_ context.Context, request signer.CertificateRequestObject, _ v1alpha1.Issuer) (signer.PEMBundle, error) {
	details, err := request.GetCertificateDetails()
	if err != nil {
		return signer.PEMBundle{}, err
	}
	template, err := details.CertificateTemplate()
	if err != nil {
		return signer.PEMBundle{}, err
	}
	bundle, err := pki.SignCSRTemplate([]*x509.Certificate{ca.root}, ca.key, template)
	if err == nil {
		ca.signatures.Add(1)
	}
	return signer.PEMBundle(bundle), err
}

// peerGroup is also written in peer.yaml, which defines the resource.
var peerGroup = schema.GroupVersion{Group: "bench.chancery.dev", Version: "v1alpha1"}

// PeerIssuer stands for the only CA there is and has nothing to be set.
type PeerIssuer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Status v1alpha1.IssuerStatus `json:"status,omitempty"`
}

// GetConditions is for issuer-lib.
func (issuer *PeerIssuer) GetConditions() []metav1.Condition {
	return issuer.Status.Conditions
}

// GetIssuerTypeIdentifier is for issuer-lib.
func (issuer *PeerIssuer) GetIssuerTypeIdentifier() string {
	return "peerissuers." + peerGroup.Group
}

// DeepCopyObject is for the cache.
func (issuer *PeerIssuer) DeepCopyObject() runtime.Object {
	copied := &PeerIssuer{TypeMeta: issuer.TypeMeta}
	issuer.ObjectMeta.DeepCopyInto(&copied.ObjectMeta)
	issuer.Status.DeepCopyInto(&copied.Status)
	return copied
}

// PeerIssuerList is for the cache too.
type PeerIssuerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []PeerIssuer `json:"items"`
}

// DeepCopyObject is for the cache.
func (list *PeerIssuerList) DeepCopyObject() runtime.Object {
	copied := &PeerIssuerList{TypeMeta: list.TypeMeta}
	list.ListMeta.DeepCopyInto(&copied.ListMeta)
	for i := range list.Items {
		copied.Items = append(copied.Items, *list.Items[i].DeepCopyObject().(*PeerIssuer))
	}
	return copied
}
