// Package webhook receives Falco's alerts over HTTP: from Falco's http_output
// or from falcosidekick's webhook output, one alert a request. At WindowsPath it
// takes the deployment windows of pipelines.
//
// # Invariants
//
//   - 200 is answered after the alert is committed. 400 tells that it cannot be
//     decoded; it is a dead letter then and must not come again.
//   - At most Config.Queue requests are in work, each with at most
//     Config.MaxBody bytes. More are told to come back (429), before their body
//     is read.
//   - A window silences alerts: without a token in the configuration none is
//     taken (403).
//   - Any other answer leaves open whether the alert was taken: a repetition
//     has the same Event.ID.
package webhook

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// Errors of a Deliver, to be tested with errors.Is.
var (
	// ErrBusy: too many wait, come back later.
	ErrBusy = errors.New("too many requests wait for their commit")
	// ErrStopping: the service stops, or could not commit.
	ErrStopping = errors.New("the service is stopping")
	// ErrBad: the alert cannot be decoded. It is a dead letter.
	ErrBad = errors.New("not a Falco alert")
	// ErrWindow: the announcement of a deployment window is refused; the error
	// that wraps it says why, and the caller is told.
	ErrWindow = errors.New("not a deployment window")
)

// WindowsPath is where deployment windows are announced.
const WindowsPath = "/deployments"

// Deliver takes one alert and returns once it is committed.
type Deliver func(ctx context.Context, body []byte) error

// Config of a Server.
type Config struct {
	Listen  string
	Token   config.Secret // "" asks for none
	MaxBody int           // bytes
	Queue   int           // requests in work
	// Windows takes the announcement of a deployment window; nil: none are.
	Windows Deliver
}

// Server is the HTTP side. New is inert.
type Server struct {
	cfg      Config
	deliver  Deliver
	log      *slog.Logger
	slots    chan struct{}
	token    [sha256.Size]byte
	requests *prometheus.CounterVec
	addr     chan net.Addr
}

// New makes a server.
func New(cfg Config, deliver Deliver, reg prometheus.Registerer, log *slog.Logger) *Server {
	s := &Server{
		cfg: cfg, deliver: deliver, log: log, slots: make(chan struct{}, cfg.Queue),
		token: sha256.Sum256([]byte(cfg.Token.Reveal())), addr: make(chan net.Addr, 1),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbwatch_ingest_webhook_requests_total", Help: "Requests of the webhook, by the answer.",
		}, []string{"status"}),
	}
	reg.MustRegister(s.requests)
	return s
}

// Addr is the address that the server listens on. It waits for Run.
func (s *Server) Addr() net.Addr {
	a := <-s.addr
	s.addr <- a
	return a
}

// Bounds of one connection.
const (
	headerTime = 5 * time.Second
	bodyTime   = 15 * time.Second
	idleTime   = 2 * time.Minute
	stopTime   = 5 * time.Second
	maxHeader  = 16 << 10
)

// Run serves until ctx ends and the requests in work are answered.
func (s *Server) Run(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	s.addr <- l.Addr()
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	s.log.Info("webhook listens", "address", l.Addr().String())
	select {
	case err := <-ended:
		return fmt.Errorf("webhook: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if err := srv.Shutdown(last); err != nil {
		return fmt.Errorf("webhook: stop: %w", errors.Join(err, srv.Close()))
	}
	return nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, text := s.handle(w, r)
	s.requests.WithLabelValues(strconv.Itoa(status)).Inc()
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") //nolint:gosec // words of ours, never the caller's; who went away needs no answer
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) (status int, text string) {
	if r.URL.Path == "/healthz" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return http.StatusOK, "ok"
	}
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed, "POST one alert"
	}
	if !s.allowed(r) {
		return http.StatusUnauthorized, "a bearer token is needed"
	}
	deliver, most := s.deliver, s.cfg.MaxBody
	if r.URL.Path == WindowsPath && s.cfg.Windows != nil {
		if s.cfg.Token == "" {
			return http.StatusForbidden, "deployment windows need webhook.token"
		}
		deliver, most = s.cfg.Windows, min(most, signal.MaxAnnouncement)
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return http.StatusTooManyRequests, ErrBusy.Error()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(most)))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("more than %d bytes", most)
	case err != nil:
		return http.StatusBadRequest, "the body could not be read"
	}
	switch err := deliver(r.Context(), body); {
	case err == nil:
		return http.StatusOK, "committed"
	case errors.Is(err, ErrBad):
		return http.StatusBadRequest, ErrBad.Error()
	case errors.Is(err, ErrWindow):
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, ErrBusy):
		return http.StatusTooManyRequests, ErrBusy.Error()
	default:
		return http.StatusServiceUnavailable, ErrStopping.Error()
	}
}

// allowed checks the token in constant time, whatever its length.
func (s *Server) allowed(r *http.Request) bool {
	if s.cfg.Token == "" {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1
}
