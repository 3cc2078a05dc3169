package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// refreshInterval is how often keys are fetched, and retryInterval how often they are
	// at most for tokens that none of them has signed.
	refreshInterval = 15 * time.Minute
	retryInterval   = time.Minute
	// firstInterval is how often they are fetched as long as there are none.
	firstInterval = 5 * time.Second
	fetchTimeout  = 5 * time.Second
	maxKeyBytes   = 1 << 20
	// maxFetchWaiters bounds the requests that wait for keys to be fetched.
	maxFetchWaiters = 1_000
)

// issuer fetches the keys of an issuer by HTTP.
type issuer struct {
	url    string
	client http.Client
	apply  func(text string, err error) error // Takes each answer, and says what is wrong with it.

	mu      sync.Mutex
	tried   time.Time
	has     bool          // There are keys.
	failed  bool          // The last fetch has failed.
	under   chan struct{} // Closed when the fetch under way has ended; nil if there is none.
	waiting int
}

// isURL reports whether keys are to be fetched, and not in a file.
func isURL(keys string) bool {
	return strings.HasPrefix(keys, "https://") || strings.HasPrefix(keys, "http://")
}

func newIssuer(url string, apply func(string, error) error) *issuer {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // It is long until the next fetch.
	return &issuer{url: url, apply: apply, client: http.Client{
		Transport: transport, Timeout: fetchTimeout, CheckRedirect: stayEncrypted,
	}}
}

// stayEncrypted lets nobody send a fetch over TLS elsewhere in the clear.
func stayEncrypted(req *http.Request, via []*http.Request) error {
	if len(via) > 3 || via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("it redirects too often, or from https to http")
	}
	return nil
}

// refresh fetches the keys, unless that was tried a moment ago. It returns whether there
// may be others than before.
func (i *issuer) refresh(ctx context.Context) bool {
	i.mu.Lock()
	under := i.under
	switch {
	case under != nil && i.waiting >= maxFetchWaiters, under == nil && time.Since(i.tried) < i.interval():
		i.mu.Unlock()
		return false
	case under != nil:
		i.waiting++
		i.mu.Unlock()
		defer i.leave()
		select {
		case <-under:
		case <-ctx.Done():
		}
		return true
	}
	i.begin()
	i.mu.Unlock()
	i.fetch(context.WithoutCancel(ctx)) // Others wait for it, too.
	return true
}

// interval is the shortest time between two fetches. i.mu is held.
func (i *issuer) interval() time.Duration {
	if i.has {
		return retryInterval
	}
	return firstInterval
}

func (i *issuer) leave() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting--
}

// begin says that a fetch is under way. i.mu is held.
func (i *issuer) begin() { i.under, i.tried = make(chan struct{}), time.Now() }

// fetch fetches the keys, after begin.
func (i *issuer) fetch(ctx context.Context) {
	failed := true
	defer func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		close(i.under)
		i.under, i.failed, i.has = nil, failed, i.has || !failed
	}()
	text, err := i.get(ctx)
	failed = i.apply(text, err) != nil
}

// fetchNow fetches them however short it is since the last time.
func (i *issuer) fetchNow(ctx context.Context) {
	i.mu.Lock()
	if i.under != nil {
		i.mu.Unlock()
		return
	}
	i.begin()
	i.mu.Unlock()
	i.fetch(ctx)
}

// get is a fetch.
func (i *issuer) get(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, i.url, nil)
	if err != nil {
		return "", withoutURL(err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := i.client.Do(req)
	if err != nil {
		return "", withoutURL(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxKeyBytes+1))
	switch {
	case err != nil:
		return "", err
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("the answer is %d", resp.StatusCode)
	case len(text) > maxKeyBytes:
		return "", errors.New("the answer is larger than 1 MiB")
	}
	return string(text), nil
}

// withoutURL is an error of a fetch without the URL, which may have a password.
func withoutURL(err error) error {
	if failed := new(url.Error); errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// watch fetches the keys from time to time, until ctx ends.
func (i *issuer) watch(ctx context.Context) {
	for {
		timer := time.NewTimer(i.pause())
		select {
		case <-timer.C:
			i.fetchNow(ctx)
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// pause is how long watch waits.
func (i *issuer) pause() time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.has && !i.failed {
		return refreshInterval
	}
	return i.interval()
}
