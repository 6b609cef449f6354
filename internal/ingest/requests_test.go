package ingest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ebbwatch/ebbwatch/internal/topic"
)

// Alerts over HTTP are answered once they are committed.
func TestWebhook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := quick()
	cfg.Sources = nil
	cfg.Webhook.Listen, cfg.Webhook.Token, cfg.Webhook.Name = "127.0.0.1:0", "secret", "falco"
	r := w.start("ingest-falco", cfg, false)
	<-r.svc.Ready()
	url := "http://" + r.svc.WebhookAddr()
	post := func(body, token string) int {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return 0
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	alert := func(n int) string {
		return fmt.Sprintf(`{"hostname":"n","priority":"Notice","rule":"r","time":"2026-01-05T10:00:00.%09dZ","output_fields":{"proc.name":"scp"}}`, n)
	}
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			if status := post(alert(n), "secret"); status != http.StatusOK {
				t.Errorf("status %d", status)
			}
		})
	}
	wg.Wait()
	// 200 means committed: whoever looks now sees them all.
	if got := len(w.events(topic.Host)); got != 50 {
		t.Errorf("%d events after 50 answers", got)
	}
	for body, want := range map[string]int{
		"{broken": http.StatusBadRequest, "10:00:00.000000001: Notice text form": http.StatusBadRequest, "": http.StatusOK,
	} {
		if status := post(body, "secret"); status != want {
			t.Errorf("%q: status %d, want %d", body, status, want)
		}
	}
	if status := post(alert(99), "wrong"); status != http.StatusUnauthorized {
		t.Errorf("wrong token: status %d", status)
	}
	dead := 0
	for _, rec := range w.read(topic.DeadLetter) {
		if !rec.control {
			dead++
		}
	}
	if dead != 2 {
		t.Errorf("%d dead letters", dead)
	}
	r.stop()
	if marks := w.marks(topic.Host); len(marks) == 0 || !marks[len(marks)-1].Closing || marks[len(marks)-1].Sources[0].Promise {
		t.Errorf("marks %+v", marks)
	}
}

// A commit that fails is answered with 503, and the service ends.
func TestWebhookWithoutCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := quick()
	cfg.Sources = nil
	cfg.Webhook.Listen = "127.0.0.1:0"
	cfg.MarkInterval = time.Hour
	r := w.start("ingest-falco", cfg, false)
	<-r.svc.Ready()
	until(t, "the first mark", func() bool { return len(w.marks(topic.Host)) > 0 })
	w.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		res := req.ResponseKind().(*kmsg.EndTxnResponse)
		res.ErrorCode = kerr.UnknownServerError.Code
		return res, nil, true
	})
	res, err := http.Post("http://"+r.svc.WebhookAddr(), "application/json",
		strings.NewReader(`{"hostname":"n","priority":"Notice","rule":"r","time":"2026-01-05T10:00:00Z","output_fields":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status %d", res.StatusCode)
	}
	if err := r.wait(); err == nil {
		t.Error("the service goes on after a commit of unknown outcome")
	}
}
