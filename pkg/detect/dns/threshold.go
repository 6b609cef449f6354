package dns

import (
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// TunnelID is the id of the tunnel detector.
const TunnelID = "dns-tunnel"

// The names of its thresholds.
const (
	thData1, thData2, thData3, thData4 = "data_1", "data_2", "data_3", "data_4"

	thUnusedTypes  = "unused_type_queries"
	thOddNames     = "odd_names"
	thOnce         = "once_names"
	thOnceShare    = "once_share"
	thDataShare    = "data_type_share"
	thFleeting     = "short_answer_bytes"
	thTTL          = "short_answer_ttl"
	thLength1      = "length_1"
	thLength2      = "length_2"
	thContact1     = "uncontacted_names_1"
	thContact2     = "uncontacted_names_2"
	thContactShare = "uncontacted_share"
	thMissingShare = "missing_share"
	thShardDomains = "shard_domains"
	thShardNames   = "shard_names"
	thShardBytes   = "shard_bytes"
	thEntropy      = "entropy"
	thEntropyCount = "entropy_queries"
	thTXT          = "txt_queries"
	thLabel        = "label_length"
	thOddData      = "odd_data"
	thDayHours     = "day_hours"

	thDay1, thDay2, thDay3, thDay4 = "day_data_1", "day_data_2", "day_data_3", "day_data_4"
)

// tunnelThresholds are the defaults of detections.md §3.
var tunnelThresholds = []detect.Threshold{
	{Name: thData1, Default: 512, Unit: "bytes", Doc: "distinct name data for 1 point"},
	{Name: thData2, Default: 1536, Unit: "bytes", Doc: "distinct name data for 2 points"},
	{Name: thData3, Default: 4096, Unit: "bytes", Doc: "distinct name data for 3 points"},
	{Name: thData4, Default: 16384, Unit: "bytes", Doc: "distinct name data for 4 points"},
	{Name: thUnusedTypes, Default: 3, Unit: "queries", Doc: "queries of record types that no host uses, for 5 points"},
	{Name: thOddNames, Default: 3, Unit: "names", Doc: "distinct names with bytes that no host name has, for 4 points"},
	{Name: thOnce, Default: 20, Unit: "names", Doc: "names from which the shares of names that were looked up once count"},
	{Name: thOnceShare, Default: 0.8, Unit: "share", Doc: "share of names that were looked up once, for 1 point"},
	{Name: thDataShare, Default: 0.8, Unit: "share", Doc: "share of these for TXT, CNAME, MX, SRV and the like without service labels, for 2 points"},
	{Name: thFleeting, Default: 2048, Unit: "bytes", Doc: "answers other than addresses with a short TTL, for 2 points"},
	{Name: thTTL, Default: 10, Unit: "seconds", Doc: "what is a short TTL"},
	{Name: thLength1, Default: 45, Unit: "bytes", Doc: "mean length of the name data for 1 point"},
	{Name: thLength2, Default: 90, Unit: "bytes", Doc: "mean length of the name data for 2 points"},
	{Name: thContact1, Default: 20, Unit: "names", Doc: "answered names, hardly any contacted, for 2 points"},
	{Name: thContact2, Default: 100, Unit: "names", Doc: "answered names, hardly any contacted, for 3 points"},
	{Name: thContactShare, Default: 0.95, Unit: "share", Doc: "share of answered names that are never contacted"},
	{Name: thMissingShare, Default: 0.8, Unit: "share", Doc: "share of names looked up once that do not exist or have no records, for 2 points"},
	{Name: thShardDomains, Default: 3, Unit: "domains", Doc: "domains between which one client spreads names that lead nowhere"},
	{Name: thShardNames, Default: 8, Unit: "names", Doc: "such names of a domain from which it counts"},
	{Name: thShardBytes, Default: 1536, Unit: "bytes", Doc: "name data of these domains together"},
	{Name: thEntropy, Default: 3.8, Unit: "bits per byte", Doc: "mean entropy of the first label (named, no points)"},
	{Name: thEntropyCount, Default: 100, Unit: "queries", Doc: "queries above which the entropy counts"},
	{Name: thTXT, Default: 20, Unit: "queries", Doc: "TXT queries (named, no points)"},
	{Name: thLabel, Default: 40, Unit: "bytes", Doc: "mean length of the first label (named, no points)"},
	{Name: thOddData, Default: 256, Unit: "bytes", Doc: "distinct name data from which odd names are 5 points"},
	{Name: thDay1, Default: 4096, Unit: "bytes", Doc: "distinct name data in 24 hours for 1 point"},
	{Name: thDay2, Default: 8192, Unit: "bytes", Doc: "distinct name data in 24 hours for 2 points"},
	{Name: thDay3, Default: 24576, Unit: "bytes", Doc: "distinct name data in 24 hours for 3 points"},
	{Name: thDay4, Default: 40960, Unit: "bytes", Doc: "distinct name data in 24 hours for 4 points"},
	{Name: thDayHours, Default: 3, Unit: "hours", Doc: "hours of a day in which there must be names"},
}

// limits are the thresholds as a site sets them.
type limits struct {
	data                           [4]float64
	unusedTypes, oddNames          float64
	once, onceShare, dataShare     float64
	fleeting, ttl                  float64
	length                         [2]float64
	contact                        [2]float64
	contactShare, missingShare     float64
	shardDomains, shardNames       float64
	shardBytes                     float64
	entropy, entropyQueries        float64
	txt, label                     float64
	oddData, dayHours              float64
	day                            [4]float64
	hasOverrides, declaresResolver bool
}

// tunnelLimits reads the thresholds from get.
func tunnelLimits(s *site.Site, get func(name string, def float64) float64) limits {
	at := func(name string) float64 {
		for i := range tunnelThresholds {
			if tunnelThresholds[i].Name == name {
				return get(name, tunnelThresholds[i].Default)
			}
		}
		panic("dns: threshold " + name + " is not in the table")
	}
	return limits{
		data:        [4]float64{at(thData1), at(thData2), at(thData3), at(thData4)},
		unusedTypes: at(thUnusedTypes), oddNames: at(thOddNames),
		once: at(thOnce), onceShare: at(thOnceShare), dataShare: at(thDataShare),
		fleeting: at(thFleeting), ttl: at(thTTL),
		length:       [2]float64{at(thLength1), at(thLength2)},
		contact:      [2]float64{at(thContact1), at(thContact2)},
		contactShare: at(thContactShare), missingShare: at(thMissingShare),
		shardDomains: at(thShardDomains), shardNames: at(thShardNames), shardBytes: at(thShardBytes),
		entropy: at(thEntropy), entropyQueries: at(thEntropyCount), txt: at(thTXT), label: at(thLabel),
		oddData: at(thOddData), dayHours: at(thDayHours), day: [4]float64{at(thDay1), at(thDay2), at(thDay3), at(thDay4)},
		hasOverrides: s.HasOverrides(TunnelID), declaresResolver: s.HasResolvers(),
	}
}

// limitsFor are the limits for one subject at an event time.
func limitsFor(s *site.Site, general *limits, on site.Subject, at int64) *limits {
	if !general.hasOverrides {
		return general
	}
	l := tunnelLimits(s, func(name string, def float64) float64 { return s.ThresholdFor(TunnelID, name, def, on, at) })
	return &l
}
