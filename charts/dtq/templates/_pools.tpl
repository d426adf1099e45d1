{{/* Worker pools: settings of each, with what follows from them. */}}

{{/* All pools as JSON: name -> its settings over workerDefaults. */}}
{{- define "dtq.pools" -}}
{{- $pools := dict -}}
{{- range $name, $own := .Values.workers -}}
{{- $pool := mergeOverwrite (deepCopy $.Values.workerDefaults) (deepCopy (default (dict) $own)) -}}
{{- $longest := max $pool.timeoutSeconds $pool.longestTimeoutSeconds -}}
{{- $_ := set $pool "longest" $longest -}}
{{- $_ := set $pool "grace" (default (add $longest 30) (int64 $pool.terminationGracePeriodSeconds)) -}}
{{- $_ := set $pool "target" (default (int64 $pool.concurrency) (int64 $pool.autoscaling.targetPerReplica)) -}}
{{- $_ := set $pool "scaled" (ne $pool.autoscaling.mode "none") -}}
{{- $_ := set $pool "fullname" (printf "%s-worker-%s" (include "dtq.fullname" $) $name) -}}
{{- $_ := set $pools $name $pool -}}
{{- end -}}
{{- $pools | toJson -}}
{{- end -}}

{{/* HANDLERS of the submitter and the operator: those of all pools. */}}
{{- define "dtq.handlers" -}}
{{- $all := list -}}
{{- range (include "dtq.pools" . | fromJson) -}}
{{- $all = concat $all (default (list) .handlers) -}}
{{- end -}}
{{- $all | uniq | join "," -}}
{{- end -}}

{{/* Not empty when KEDA asks the submitter for a queue's demand. */}}
{{- define "dtq.asksForDemand" -}}
{{- range (include "dtq.pools" . | fromJson) -}}
{{- if and (eq .autoscaling.mode "keda") (not .autoscaling.prometheus.serverAddress) -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{/* PromQL for the demand of several queues. Each scheduler exports them all: of those the maximum counts.
PodMonitor and ServiceMonitor set `namespace` and `job`. Takes root and queues. */}}
{{- define "dtq.demandQuery" -}}
{{- $names := list -}}
{{- range .queues -}}{{- $names = append $names (replace "." "[.]" .) -}}{{- end -}}
{{- $release := printf "namespace=%q,job=%q" .root.Release.Namespace .root.Release.Name -}}
{{- printf "sum(max by (queue) (dtq_queue_demand{%s,queue=~%q}))" $release (join "|" $names) -}}
{{- end -}}
