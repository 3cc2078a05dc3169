package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/spf13/cobra"

	"github.com/example/userd/cmd/userd/cli"
	userv1 "github.com/example/userd/gen/user/v1"
	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/gen/user/v1/userv1errors"
)

// target is the server that a command talks to.
type target struct {
	server, token, ca string
	address           string // Of the server, once there is a client: a URL without a user.
}

// Commands are those of this package.
func Commands() []*cobra.Command {
	return []*cobra.Command{getCommand(), listCommand(), searchCommand(), createCommand(), updateCommand(), deleteCommand(), watchCommand(), importCommand(), exportCommand()}
}

func (t *target) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&t.server, "server", "http://127.0.0.1:8080", "`URL` of the server")
	flags.StringVar(&t.token, "token", "", "token for the server")
	flags.Lookup("token").Hidden = true // Others see command lines: it is there for USERD_TOKEN.
	flags.String("token-file", "", "`file` with the token for the server; or set USERD_TOKEN")
	flags.StringVar(&t.ca, "tls-ca", "", "`file` with the authority of the server's certificate, PEM; else those of the system")
}

// users is a client of the server.
func (t *target) users() (userv1connect.UserServiceClient, error) {
	address := t.server
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, cli.Wrong(errors.New("--server must be a URL such as https://userd.example.com"))
	}
	if strings.ContainsFunc(t.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, cli.Wrong(errors.New("the token must be one word, without blanks and ends of lines"))
	}
	transport, err := t.transport(parsed.Scheme)
	if err != nil {
		return nil, err
	}
	if parsed.User != nil { // Of a proxy, with a password that nothing is to show.
		parsed.User = nil
		t.server = parsed.String()
	}
	t.address = strings.TrimSuffix(parsed.String(), "/")
	return t.client(transport, strings.TrimSuffix(address, "/")), nil
}

// client is a client of the server at an address.
func (t *target) client(transport *http.Transport, address string) userv1connect.UserServiceClient {
	calls := connecthttp.NewTransport(&http.Client{Transport: attentive{transport}}, address)
	return userv1connect.NewUserServiceClient(connect.NewClient(calls, t.authorize))
}

// authorize sends the token, where there is one.
func (t *target) authorize(next connect.ClientFunc) connect.ClientFunc {
	return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
		if call, ok := connect.CallInfoForClientContext(ctx); ok && t.token != "" {
			call.RequestHeader().Set("Authorization", "Bearer "+t.token)
		}
		return next(ctx, spec)
	}
}

// explain is what a call's error means to whoever has typed the command.
func (t *target) explain(ctx context.Context, err error) error {
	var failed *connect.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return cli.Exit(cli.Interrupt, errors.New("interrupted"))
	case !errors.As(err, &failed):
		return err
	case !failed.IsRemote() && untrusted(err):
		return fmt.Errorf("%s has a certificate of an authority that is not known here: name the authority's file with --tls-ca", t.server)
	case !failed.IsRemote() && errors.As(err, new(*tls.CertificateVerificationError)):
		return fmt.Errorf("%s has a certificate that is not good for it: %s", t.server, failed.Message())
	case !failed.IsRemote() && errors.Is(err, errSpeaksTLS):
		return fmt.Errorf("%s speaks TLS: begin --server with https://", t.server)
	case !failed.IsRemote() && mistaken(err):
		return fmt.Errorf("%s does not speak TLS: begin --server with http:// if that is meant", t.server)
	case !failed.IsRemote() && (failed.Code() == connect.CodeUnavailable || failed.Code() == connect.CodeDeadlineExceeded):
		return fmt.Errorf("%s cannot be reached; is userd running there, and is --server right?: %s", t.server, failed.Message())
	case isLost(failed):
		return fmt.Errorf("the connection to %s was lost: %s", t.server, failed.Message())
	}
	reason := userv1errors.Reason(failed)
	switch {
	case reason == userv1.Reason_REASON_UNAUTHENTICATED && t.token == "":
		return fmt.Errorf("%s wants to know who calls: give a token with --token-file or USERD_TOKEN (UNAUTHENTICATED)", t.server)
	case reason != userv1.Reason_REASON_UNSPECIFIED:
		return fmt.Errorf("%s (%s)", failed.Message(), strings.TrimPrefix(reason.String(), "REASON_"))
	}
	return fmt.Errorf("%s: %s", t.server, failed.Error())
}

// passing reports whether an error may be gone soon, so that a call can be made again.
func passing(err error) bool {
	var failed *connect.Error
	switch {
	case !errors.As(err, &failed) || mistaken(err):
		return false
	case isLost(failed):
		return true
	}
	switch failed.Code() {
	case connect.CodeUnavailable, connect.CodeAborted, connect.CodeDeadlineExceeded:
		return true
	case connect.CodeResourceExhausted: // Not what is too large.
		reason := userv1errors.Reason(failed)
		return reason == userv1.Reason_REASON_OVERLOADED || reason == userv1.Reason_REASON_SLOW_CONSUMER
	}
	return false
}

// isLost reports whether an answer, or the rest of it, has not come. A stream may also be cut
// off where a message ends, or within one.
func isLost(failed *connect.Error) bool {
	cutOff := failed.Code() == connect.CodeInternal && errors.Is(failed, io.ErrUnexpectedEOF)
	return !failed.IsRemote() && (cutOff || errors.As(failed, new(lostError)))
}

// untrusted reports whether a call has failed for who has signed the server's certificate.
func untrusted(err error) bool { return errors.As(err, new(x509.UnknownAuthorityError)) }

// exactly wants so many arguments.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return cli.Wrong(fmt.Errorf("%s takes %s", cmd.CommandPath(), what))
		}
		return nil
	}
}
