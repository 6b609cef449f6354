package stream

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var errCut = errors.New("the connection is cut")

// refuse answers a request of a step with an error in each of its parts, or,
// without one, cuts the connection.
func refuse(kreq kmsg.Request, code int16) (kmsg.Response, error, bool) {
	if code == 0 {
		return nil, errCut, true
	}
	switch req := kreq.(type) {
	case *kmsg.ProduceRequest:
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range req.Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	case *kmsg.TxnOffsetCommitRequest:
		resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		for _, rt := range req.Topics {
			st := kmsg.NewTxnOffsetCommitResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	case *kmsg.EndTxnRequest:
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = code
		return resp, nil, true
	case *kmsg.HeartbeatRequest:
		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = code
		return resp, nil, true
	}
	return nil, nil, false
}

// TestAnErrorAtEachStepOfACommit: whatever the broker answers at whichever step,
// what is committed in the end is right; an engine that gives up is started
// again.
func TestAnErrorAtEachStepOfACommit(t *testing.T) {
	t.Parallel()
	cut := &kerr.Error{Message: "CUT"} // its code is 0: no answer
	var cases []struct {
		step kmsg.Key
		err  *kerr.Error
	}
	for step, errs := range map[kmsg.Key][]*kerr.Error{
		kmsg.Produce:         {kerr.NotLeaderForPartition, kerr.NotEnoughReplicasAfterAppend, kerr.InvalidProducerEpoch, kerr.KafkaStorageError, cut},
		kmsg.TxnOffsetCommit: {kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.UnknownServerError, cut},
		kmsg.Heartbeat:       {kerr.RebalanceInProgress, kerr.UnknownMemberID, kerr.IllegalGeneration, cut},
		kmsg.EndTxn:          {kerr.ConcurrentTransactions, kerr.CoordinatorNotAvailable, kerr.UnknownServerError, kerr.InvalidProducerEpoch, cut},
	} {
		for _, err := range errs {
			cases = append(cases, struct {
				step kmsg.Key
				err  *kerr.Error
			}{step, err})
		}
	}
	together(t, len(cases), func(i int) string { return cases[i].step.Name() + "=" + cases[i].err.Message },
		func(t *testing.T, i int) {
			t.Helper()
			tc := cases[i]
			w := newWorld(t, 2)
			var seen, refused atomic.Int64
			w.inject().ControlKey(int16(tc.step), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				w.inject().KeepControl()
				// Not the barriers of restores, and not for ever.
				if end, ok := kreq.(*kmsg.EndTxnRequest); ok && !end.Commit || refused.Load() >= 4 || seen.Add(1)%5 != 0 {
					return nil, nil, false
				}
				refused.Add(1)
				return refuse(kreq, tc.err.Code)
			})
			rng := rand.New(rand.NewPCG(uint64(i), 9))
			var clock int64
			inst := w.start("A")
			for began := time.Now(); refused.Load() < 4; time.Sleep(5 * time.Millisecond) {
				w.feed(rng, "in", rng.Int32N(2), 1+rng.IntN(30), &clock)
				if time.Since(began) > 20*time.Second {
					t.Fatalf("only %d of %d requests were refused", refused.Load(), seen.Load())
				}
			}
			w.settle()
			inst.drain()
			w.check(w.always("A"))
		})
}
