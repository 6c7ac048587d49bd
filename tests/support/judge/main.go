// Judge says what crypto/tls thinks of a chain: nothing where it takes it, otherwise why not.
//
//	judge CHAIN.pem ROOTS.pem UNIX_TIME server|client [NAME]
package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := judge(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func judge(args []string) error {
	if len(args) < 4 {
		return fmt.Errorf("usage: judge CHAIN.pem ROOTS.pem UNIX_TIME server|client [NAME]")
	}
	chain, err := certificates(args[0])
	if err != nil {
		return err
	}
	roots, err := certificates(args[1])
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	usage := x509.ExtKeyUsageServerAuth
	if args[3] == "client" {
		usage = x509.ExtKeyUsageClientAuth
	}
	options := x509.VerifyOptions{
		Roots:         pool(roots),
		Intermediates: pool(chain[1:]),
		CurrentTime:   time.Unix(seconds, 0),
		KeyUsages:     []x509.ExtKeyUsage{usage},
	}
	if len(args) > 4 {
		options.DNSName = args[4]
	}
	_, err = chain[0].Verify(options)
	return err
}

func certificates(file string) ([]*x509.Certificate, error) {
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var read []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		read = append(read, certificate)
	}
	if len(read) == 0 {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return read, nil
}

func pool(certificates []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, certificate := range certificates {
		pool.AddCert(certificate)
	}
	return pool
}
