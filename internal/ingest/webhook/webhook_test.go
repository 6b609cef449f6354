package webhook_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbwatch/ebbwatch/internal/ingest/webhook"
)

func server(cfg webhook.Config, deliver webhook.Deliver) *webhook.Server {
	if cfg.Queue == 0 {
		cfg.Queue = 4
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 64
	}
	return webhook.New(cfg, deliver, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	answer := map[string]error{"bad": webhook.ErrBad, "busy": webhook.ErrBusy, "stopping": webhook.ErrStopping, "gone": context.Canceled}
	deliver := func(_ context.Context, body []byte) error { return answer[string(body)] }
	for name, tc := range map[string]struct {
		token, method, path, body, auth string
		want                            int
		header                          string
	}{
		"good":           {body: "x", want: 200},
		"any path":       {path: "/falco", body: "x", want: 200},
		"bad":            {body: "bad", want: 400},
		"busy":           {body: "busy", want: 429, header: "Retry-After"},
		"stopping":       {body: "stopping", want: 503, header: "Retry-After"},
		"other":          {body: "gone", want: 503},
		"longest":        {body: strings.Repeat("x", 64), want: 200},
		"too long":       {body: strings.Repeat("x", 65), want: 413},
		"get":            {method: http.MethodGet, want: 405, header: "Allow"},
		"health":         {method: http.MethodGet, path: "/healthz", token: "s", want: 200},
		"post to health": {path: "/healthz", body: "x", want: 200},
		"token":          {token: "s", auth: "Bearer s", body: "x", want: 200},
		"token, case":    {token: "s", auth: "bearer s", body: "x", want: 200},
		"no token":       {token: "s", body: "x", want: 401, header: "WWW-Authenticate"},
		"wrong token":    {token: "s", auth: "Bearer ss", body: "x", want: 401},
		"wrong scheme":   {token: "s", auth: "Basic s", body: "x", want: 401},
		"empty token":    {token: "s", auth: "Bearer ", body: "x", want: 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := server(webhook.Config{}, deliver)
			if tc.token != "" {
				s = server(webhook.Config{Token: "s"}, deliver)
			}
			if tc.method == "" {
				tc.method = http.MethodPost
			}
			if tc.path == "" {
				tc.path = "/"
			}
			req := httptest.NewRequest(tc.method, tc.path, strings.NewReader(tc.body))
			if tc.auth != "" {
				req.Header.Set("Authorization", tc.auth)
			}
			res := httptest.NewRecorder()
			s.ServeHTTP(res, req)
			if res.Code != tc.want {
				t.Errorf("status %d, want %d: %s", res.Code, tc.want, res.Body)
			}
			if tc.header != "" && res.Header().Get(tc.header) == "" {
				t.Errorf("no header %s", tc.header)
			}
		})
	}
}

// More requests than the queue holds are told to come back, before their body
// is read.
// Windows silence alerts: without a token nobody announces them.
func TestWindows(t *testing.T) {
	t.Parallel()
	refused := fmt.Errorf("%w: until: too late", webhook.ErrWindow)
	windows := func(_ context.Context, body []byte) error {
		if string(body) == "bad" {
			return refused
		}
		return nil
	}
	alerts := func(context.Context, []byte) error { return webhook.ErrStopping }
	for name, tc := range map[string]struct {
		cfg              webhook.Config
		path, auth, body string
		want             int
		text             string
	}{
		"taken":             {webhook.Config{Token: "s", Windows: windows}, "/deployments", "Bearer s", "x", 200, "committed"},
		"refused":           {webhook.Config{Token: "s", Windows: windows}, "/deployments", "Bearer s", "bad", 400, "until: too late"},
		"no token is set":   {webhook.Config{Windows: windows}, "/deployments", "", "x", 403, "webhook.token"},
		"no token is sent":  {webhook.Config{Token: "s", Windows: windows}, "/deployments", "", "x", 401, "token"},
		"too long":          {webhook.Config{Token: "s", Windows: windows, MaxBody: 1 << 20}, "/deployments", "Bearer s", strings.Repeat("x", 8193), 413, "8192"},
		"an alert's path":   {webhook.Config{Token: "s", Windows: windows}, "/", "Bearer s", "x", 503, ""},
		"nobody takes them": {webhook.Config{Token: "s"}, "/deployments", "Bearer s", "x", 503, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := httptest.NewRequest(http.MethodPost, tc.path, strings.NewReader(tc.body))
			req.Header.Set("Authorization", tc.auth)
			rec := httptest.NewRecorder()
			server(tc.cfg, alerts).ServeHTTP(rec, req)
			if rec.Code != tc.want || !strings.Contains(rec.Body.String(), tc.text) {
				t.Errorf("status %d %q, wanted %d %q", rec.Code, rec.Body.String(), tc.want, tc.text)
			}
		})
	}
}

func TestBoundedQueue(t *testing.T) {
	t.Parallel()
	hold, entered := make(chan struct{}), make(chan struct{}, 2)
	s := server(webhook.Config{Queue: 2}, func(context.Context, []byte) error {
		entered <- struct{}{}
		<-hold
		return nil
	})
	statuses := make(chan int, 2)
	for range 2 {
		go func() {
			res := httptest.NewRecorder()
			s.ServeHTTP(res, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x")))
			statuses <- res.Code
		}()
	}
	<-entered
	<-entered
	res := httptest.NewRecorder()
	s.ServeHTTP(res, httptest.NewRequest(http.MethodPost, "/", failing{t}))
	if res.Code != http.StatusTooManyRequests {
		t.Errorf("status %d beyond the queue", res.Code)
	}
	close(hold)
	for range 2 {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	}
	res = httptest.NewRecorder()
	s.ServeHTTP(res, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x")))
	<-entered
	if res.Code != http.StatusOK {
		t.Errorf("status %d after the queue was empty again", res.Code)
	}
}

type failing struct{ t *testing.T }

// Read fails the test.
func (f failing) Read([]byte) (int, error) {
	f.t.Error("the body was read")
	return 0, io.EOF
}

// A stop waits for the requests in work.
func TestStopAnswersWhatIsInWork(t *testing.T) {
	t.Parallel()
	entered, hold := make(chan struct{}), make(chan struct{})
	s := server(webhook.Config{Listen: "127.0.0.1:0"}, func(_ context.Context, body []byte) error {
		if !bytes.Equal(body, []byte("x")) {
			t.Errorf("body %q", body)
		}
		close(entered)
		<-hold
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	status := make(chan int, 1)
	go func() {
		res, err := http.Post("http://"+s.Addr().String(), "application/json", strings.NewReader("x"))
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		res.Body.Close()
		status <- res.StatusCode
	}()
	<-entered
	cancel()
	time.Sleep(20 * time.Millisecond)
	select {
	case err := <-done:
		t.Fatalf("stopped with a request in work: %v", err)
	default:
	}
	close(hold)
	if got := <-status; got != http.StatusOK {
		t.Errorf("status %d", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	first := server(webhook.Config{Listen: "127.0.0.1:0"}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- first.Run(ctx) }()
	second := server(webhook.Config{Listen: first.Addr().String()}, nil)
	if err := second.Run(t.Context()); err == nil {
		t.Error("no error for an address in use")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
