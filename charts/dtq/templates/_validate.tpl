{{/*
What the schema cannot say: values that contradict each other or what is in the cluster. Every sentence says what to change, and all of
them are shown at once. Each part yields its sentences as a JSON list.
*/}}

{{- define "dtq.validate" -}}
{{- $parts := list "names" "server" "sizes" "auth" "front" "blobs" "smtp" "operator" "pools" "extraEnv" "volumes" "resources" "labels" "secrets" "crds" -}}
{{- $all := list -}}
{{- range $parts -}}
{{- $all = concat $all (include (printf "dtq.validate.%s" .) $ | fromJsonArray) -}}
{{- end -}}
{{- if $all -}}
{{- printf "\n\nThese values cannot be used:\n- %s\n" (join "\n- " $all) | fail -}}
{{- end -}}
{{- end -}}

{{/* What helm takes as a release's name, and Kubernetes not as a Service's. */}}
{{- define "dtq.validate.names" -}}
{{- $all := list -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" (include "dtq.fullname" .)) -}}
{{- $all = append $all (printf "the release's name, %s, is the beginning of the names of Services, which begin with a letter and have only a-z, 0-9 and -: choose another name, or set fullnameOverride" .Release.Name) -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Redis and PostgreSQL: exactly one of each. */}}
{{- define "dtq.validate.server" -}}
{{- $all := list -}}
{{- range $kind, $bundled := dict "redis" "valkey" "database" "postgresql" -}}
{{- $values := index $.Values $kind -}}
{{- $own := or $values.url $values.existingSecret -}}
{{- $enabled := (index $.Values $bundled).enabled -}}
{{- if and (not $enabled) (not $own) -}}
{{- $all = append $all (printf "%s.enabled is false and there is no other server: set %s.url or %s.existingSecret, or %s.enabled=true" $bundled $kind $kind $bundled) -}}
{{- end -}}
{{- if and $enabled $own -}}
{{- $all = append $all (printf "%s.%s names a server of your own, but %s.enabled=true starts another: set %s.enabled=false, or remove %s.%s" $kind (ternary "url" "existingSecret" (not (empty $values.url))) $bundled $bundled $kind (ternary "url" "existingSecret" (not (empty $values.url)))) -}}
{{- end -}}
{{- if and $values.url $values.existingSecret -}}
{{- $all = append $all (printf "%s.url and %s.existingSecret are both set: remove one of them" $kind $kind) -}}
{{- end -}}
{{- if and $values.existingSecret (not $values.existingSecretKey) -}}
{{- $all = append $all (printf "%s.existingSecretKey is empty: set it to the entry of Secret %s that holds the URL" $kind $values.existingSecret) -}}
{{- end -}}
{{- $server := index $.Values $bundled -}}
{{- if and $server.password $server.existingSecret -}}
{{- $all = append $all (printf "%s.password and %s.existingSecret are both set: remove one of them" $bundled $bundled) -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{- define "dtq.validate.auth" -}}
{{- $all := list -}}
{{- with .Values.auth -}}
{{- if and .anonymous .existingSecret -}}
{{- $all = append $all "auth.anonymous=true needs no keys, but auth.existingSecret names some: set auth.anonymous=false, or remove auth.existingSecret" -}}
{{- end -}}
{{- if and .extraKeys (or .anonymous .existingSecret) -}}
{{- $all = append $all "auth.extraKeys are added to the chart's own keys, and there are none: put these lines into the entry `keys` of auth.existingSecret, or remove auth.extraKeys" -}}
{{- end -}}
{{- $seen := dict -}}
{{- range .extraKeys -}}
{{- $words := splitList " " . -}}
{{- $first := get $seen (last $words) -}}
{{- if $first -}}
{{- $all = append $all (printf "auth.extraKeys has the key of %s again, for %s, and submitters would take none of the keys: remove one of the lines" $first (first $words)) -}}
{{- end -}}
{{- $_ := set $seen (last $words) (first $words) -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{- define "dtq.validate.front" -}}
{{- $all := list -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- $all = append $all "ingress.enabled=true, but ingress.host is empty: set it to the name that clients use, such as dtq.example.com" -}}
{{- end -}}
{{- with .Values.ingress -}}
{{- if regexMatch "^[0-9]+([.][0-9]+){3}$" (default "" .host) -}}
{{- $all = append $all (printf "ingress.host is the address %s, and an Ingress takes names only: set it to a name, such as dtq.example.com" .host) -}}
{{- end -}}
{{- if and .enabled .tls.secretName (not .tls.enabled) -}}
{{- $all = append $all "ingress.tls.secretName names a certificate, but ingress.tls.enabled=false serves plain http: set ingress.tls.enabled=true, or remove ingress.tls.secretName" -}}
{{- end -}}
{{- end -}}
{{- range $key := list "apiFrom" "metricsFrom" -}}
{{- if and (index $.Values.networkPolicy $key) (not $.Values.networkPolicy.enabled) -}}
{{- $all = append $all (printf "networkPolicy.%s is set, but networkPolicy.enabled=false lets everybody in: set networkPolicy.enabled=true, or remove it" $key) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- $all = append $all "httpRoute.enabled=true, but httpRoute.parentRefs is empty: name the Gateway, as in [{name: my-gateway, namespace: gateways}]" -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{- define "dtq.validate.blobs" -}}
{{- $all := list -}}
{{- with .Values.blobs -}}
{{- if and (not .url) (not .persistence.enabled) -}}
{{- $all = append $all "there is no place for blobs: set blobs.url to an object store, or blobs.persistence.enabled=true" -}}
{{- end -}}
{{- if and .url .persistence.existingClaim -}}
{{- $all = append $all "blobs.url and blobs.persistence.existingClaim are both set: remove one of them" -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{- define "dtq.validate.smtp" -}}
{{- $all := list -}}
{{- with .Values.smtp -}}
{{- if not .addr -}}
{{- range $key := list "from" "existingSecret" -}}
{{- if index $.Values.smtp $key -}}
{{- $all = append $all (printf "smtp.%s is set, but smtp.addr is empty, and no mail would be sent: set smtp.addr, as in mail.example.com:587, or remove smtp.%s" $key $key) -}}
{{- end -}}
{{- end -}}
{{- if ne .tls "none" -}}
{{- $all = append $all (printf "smtp.tls is %s, but smtp.addr is empty, and no mail would be sent: set smtp.addr, as in mail.example.com:587, or smtp.tls=none" .tls) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* A quantity of Kubernetes, such as 1.5Gi or 100m, or an amount as Valkey and PostgreSQL write it, such as 640mb or 128MB, as a
number. Takes value and units (how much each is). */}}
{{- define "dtq.amount" -}}
{{- $number := regexFind "^[0-9.]+" (toString .value) -}}
{{- $unit := trimPrefix $number (toString .value) -}}
{{- mulf (float64 $number) (get .units $unit | default 1 | float64) -}}
{{- end -}}

{{- define "dtq.quantity" -}}
{{- $units := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- include "dtq.amount" (dict "value" . "units" $units) -}}
{{- end -}}

{{/* What the servers are told to use of memory has to fit into what their containers get. */}}
{{- define "dtq.validate.sizes" -}}
{{- $all := list -}}
{{- $valkey := dict "k" 1e3 "m" 1e6 "g" 1e9 "kb" 1024 "mb" 1048576 "gb" 1073741824 -}}
{{- $postgresql := dict "kB" 1024 "MB" 1048576 "GB" 1073741824 -}}
{{- range $check := list (list "valkey" "maxmemory" $valkey "two thirds") (list "postgresql" "sharedBuffers" $postgresql "a quarter") -}}
{{- $server := index $.Values (index $check 0) -}}
{{- $value := index $server (index $check 1) -}}
{{- $limit := dig "limits" "memory" "" (default (dict) $server.resources) -}}
{{- if and $server.enabled $value $limit -}}
{{- if ge (include "dtq.amount" (dict "value" $value "units" (index $check 2)) | float64) (include "dtq.quantity" $limit | float64) -}}
{{- $all = append $all (printf "%s.%s is %v, but its container gets %v of memory, and would be killed when that is used up: lower it to %s of that, or raise %s.resources.limits.memory" (index $check 0) (index $check 1) $value $limit (index $check 3) (index $check 0)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Values of all workloads, as JSON: where they stand -> values. Takes root and servers (also Valkey and PostgreSQL). */}}
{{- define "dtq.workloads" -}}
{{- $all := dict -}}
{{- range list "submitter" "scheduler" "operator" -}}{{- $_ := set $all . (index $.root.Values .) -}}{{- end -}}
{{- if .servers -}}{{- range list "valkey" "postgresql" -}}{{- $_ := set $all . (index $.root.Values .) -}}{{- end -}}{{- end -}}
{{- range $name, $pool := include "dtq.pools" .root | fromJson -}}{{- $_ := set $all (printf "workers.%s" $name) $pool -}}{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Kubernetes would refuse these when some of the release has been made already. */}}
{{- define "dtq.validate.resources" -}}
{{- $all := list -}}
{{- range $path, $workload := include "dtq.workloads" (dict "root" . "servers" true) | fromJson -}}
{{- $resources := default (dict) $workload.resources -}}
{{- range $kind, $limit := default (dict) $resources.limits -}}
{{- $request := dig "requests" $kind "" $resources -}}
{{- if and $limit $request -}}
{{- if gt (include "dtq.quantity" $request | float64) (include "dtq.quantity" $limit | float64) -}}
{{- $all = append $all (printf "%s.resources.requests.%s is %v, more than its limit, %v: lower it, or raise %s.resources.limits.%s" $path $kind $request $limit $path $kind) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Names and places that would be there twice, and mounts of what is not there. */}}
{{- define "dtq.validate.volumes" -}}
{{- $all := list -}}
{{- range $path, $workload := include "dtq.workloads" (dict "root" .) | fromJson -}}
{{- $made := dict "tmp" "/tmp" -}}
{{- if and (ne $path "scheduler") (ne $path "operator") (not $.Values.blobs.url) -}}{{- $_ := set $made "blobs" "/var/lib/dtq/blobs" -}}{{- end -}}
{{- if and (eq $path "submitter") (not $.Values.auth.anonymous) -}}{{- $_ := set $made "api-keys" "/etc/dtq/api-keys" -}}{{- end -}}
{{- $names := list -}}
{{- range $workload.extraVolumes -}}
{{- if hasKey $made .name -}}
{{- $all = append $all (printf "%s.extraVolumes has %s, which is a volume of the chart: choose another name" $path .name) -}}
{{- else if has .name $names -}}
{{- $all = append $all (printf "%s.extraVolumes has %s twice: remove one of them" $path .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $places := values $made -}}
{{- range $workload.extraVolumeMounts -}}
{{- if not (or (has .name $names) (hasKey $made .name)) -}}
{{- $all = append $all (printf "%s.extraVolumeMounts mounts %s, which is none of its volumes: add it to %s.extraVolumes" $path .name $path) -}}
{{- end -}}
{{- if has (trimSuffix "/" .mountPath) $places -}}
{{- $all = append $all (printf "%s.extraVolumeMounts mounts %s at %s, where another volume is: choose another mountPath" $path .name .mountPath) -}}
{{- end -}}
{{- $places = append $places (trimSuffix "/" .mountPath) -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{- define "dtq.validate.operator" -}}
{{- $all := list -}}
{{- with .Values.operator -}}
{{- if and .clusterWide .namespaces -}}
{{- $all = append $all "operator.clusterWide=true serves every namespace, but operator.namespaces lists some: remove one of them" -}}
{{- end -}}
{{- if and .enabled (not .serviceAccount.create) (not .serviceAccount.name) -}}
{{- $all = append $all "operator.serviceAccount.create=false without a name would give the operator's rights to the account default, and so to other pods of the namespace: set operator.serviceAccount.name to an account of yours, or create=true" -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{- define "dtq.validate.pools" -}}
{{- $all := list -}}
{{- range $name, $pool := include "dtq.pools" . | fromJson -}}
{{- $path := printf "workers.%s" $name -}}
{{- $own := default (dict) (index $.Values.workers $name) -}}
{{- if or (gt (len $name) 20) (not (regexMatch "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" $name)) -}}
{{- $all = append $all (printf "workers has a pool %q, and a pool's name has up to 20 characters of a-z, 0-9 and -, with - only between others: choose another name" $name) -}}
{{- end -}}
{{- range $pool.handlers -}}
{{- if hasSuffix ".py" . -}}
{{- $all = append $all (printf "%s.handlers names the file %s, where a module belongs: set it to %s" $path . (trimSuffix ".py" .)) -}}
{{- end -}}
{{- end -}}
{{- if and (has "*" $pool.queues) (gt (len $pool.queues) 1) -}}
{{- $all = append $all (printf "%s.queues has \"*\", which is every queue, and others: remove one or the others" $path) -}}
{{- end -}}
{{- if lt (int64 $pool.grace) (add (int64 $pool.longest) 30) -}}
{{- $all = append $all (printf "%s.terminationGracePeriodSeconds is %v, but its jobs may run for %v s (timeoutSeconds, longestTimeoutSeconds) and would be interrupted at every scale-in: set it to %v or more, or 0" $path $pool.grace $pool.longest (add (int64 $pool.longest) 30)) -}}
{{- end -}}
{{- $all = concat $all (include "dtq.validate.scaling" (dict "path" $path "pool" $pool "own" $own) | fromJsonArray) -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* One pool's autoscaling. Takes path, pool and own (what was set for this pool alone). */}}
{{- define "dtq.validate.scaling" -}}
{{- $all := list -}}
{{- $path := .path -}}
{{- $scaling := .pool.autoscaling -}}
{{- $own := default (dict) .own.autoscaling -}}
{{- $mode := $scaling.mode -}}
{{- if eq $mode "none" -}}
{{- range $key := without (keys $own | sortAlpha) "mode" -}}
{{- $all = append $all (printf "%s.autoscaling.%s is set, but nothing scales this pool: set %s.autoscaling.mode to keda or hpa, or remove it" $path $key $path) -}}
{{- end -}}
{{- else -}}
{{- if has "*" .pool.queues -}}
{{- $all = append $all (printf "%s.autoscaling.mode is %s, but the pool serves \"*\", whose demand is not that of one queue: name its queues, as in %s.queues=[default]" $path $mode $path) -}}
{{- end -}}
{{- if gt (int64 $scaling.min) (int64 $scaling.max) -}}
{{- $all = append $all (printf "%s.autoscaling.min is %v and max is %v: set max to at least min" $path $scaling.min $scaling.max) -}}
{{- end -}}
{{- if gt (int64 $scaling.fallbackReplicas) (int64 $scaling.max) -}}
{{- $all = append $all (printf "%s.autoscaling.fallbackReplicas is %v and max is %v: set it to at most max" $path $scaling.fallbackReplicas $scaling.max) -}}
{{- end -}}
{{- if hasKey .own "replicas" -}}
{{- $all = append $all (printf "%s.replicas is set, but autoscaling.mode=%s decides how many pods there are: remove it, and set %s.autoscaling.min and max" $path $mode $path) -}}
{{- end -}}
{{- end -}}
{{- if eq $mode "hpa" -}}
{{- if hasKey (default (dict) $scaling.hpa.metricLabels) "queue" -}}
{{- $all = append $all (printf "%s.autoscaling.hpa.metricLabels has queue, which is made from the pool's queues: remove it there, and change %s.queues" $path $path) -}}
{{- end -}}
{{- if lt (int64 $scaling.min) 1 -}}
{{- $all = append $all (printf "%s.autoscaling.min is %v, but an HorizontalPodAutoscaler needs at least 1 pod: set it to 1, or mode to keda to scale to 0" $path $scaling.min) -}}
{{- end -}}
{{- range $key := list "pollingInterval" "cooldownPeriod" "fallbackReplicas" "prometheus" -}}
{{- if hasKey $own $key -}}
{{- $all = append $all (printf "%s.autoscaling.%s is for mode keda, and the mode is hpa: set mode=keda, or remove it" $path $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq $mode "keda") (hasKey $own "hpa") -}}
{{- $all = append $all (printf "%s.autoscaling.hpa is for mode hpa, and the mode is keda: set mode=hpa, or remove it" $path) -}}
{{- end -}}
{{- if and (ne $mode "none") $scaling.prometheus.query (not $scaling.prometheus.serverAddress) -}}
{{- $all = append $all (printf "%s.autoscaling.prometheus.query is set without a server to ask: set prometheus.serverAddress" $path) -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Variables that are made from values, and would stand there twice. */}}
{{- define "dtq.validate.extraEnv" -}}
{{- $all := list -}}
{{- $made := dict "REDISADDR" "redis.url" "DATABASEURL" "database.url" "BLOBURL" "blobs.url" "APIKEYSFILE" "auth.existingSecret" "ALLOWANONYMOUS" "auth.anonymous" -}}
{{- $made = merge $made (dict "SMTPADDR" "smtp.addr" "SMTPFROM" "smtp.from" "SMTPTLS" "smtp.tls" "SMTPUSER" "smtp.existingSecret" "SMTPPASSWORD" "smtp.existingSecret") -}}
{{- $made = merge $made (dict "QUEUES" "workers.POOL.queues" "WORKERCOUNT" "workers.POOL.concurrency" "WORKERTIMEOUT" "workers.POOL.timeoutSeconds" "PROCESSES" "workers.POOL.processes" "HANDLERS" "workers.POOL.handlers" "SHUTDOWNSECONDS" "submitter.shutdownSeconds or workers.POOL.terminationGracePeriodSeconds") -}}
{{- $made = merge $made (dict "NAMESPACES" "operator.namespaces" "CLUSTERNAME" "operator.clusterName" "RESYNCSECONDS" "operator.resyncSeconds" "OPERATORNAME" "nothing, it tells releases apart" "APIADDR" "submitter.service.port" "METRICSADDR" "nothing, it is always :9090") -}}
{{- $made = merge $made (dict "VALKEYPASSWORD" "valkey.existingSecret" "POSTGRESQLPASSWORD" "postgresql.existingSecret") -}}
{{- range $path, $service := include "dtq.workloads" (dict "root" .) | fromJson -}}
{{- $seen := list -}}
{{- range $service.extraEnv -}}
{{- if has .name $seen -}}
{{- $all = append $all (printf "%s.extraEnv has %s twice: remove one of them" $path .name) -}}
{{- end -}}
{{- $seen = append $seen .name -}}
{{- if hasKey $made .name -}}
{{- $all = append $all (printf "%s.extraEnv sets %s, which the chart sets: remove it there, and change %s" $path .name (get $made .name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Labels by which the chart's selectors find pods, and others that it sets. */}}
{{- define "dtq.validate.labels" -}}
{{- $all := list -}}
{{- $places := dict "commonLabels" .Values.commonLabels -}}
{{- range list "submitter" "scheduler" "operator" "workerDefaults" -}}{{- $_ := set $places (printf "%s.podLabels" .) (index $.Values .).podLabels -}}{{- end -}}
{{- range $name, $pool := .Values.workers -}}{{- $_ := set $places (printf "workers.%s.podLabels" $name) (default (dict) $pool).podLabels -}}{{- end -}}
{{- range list "podMonitor" "serviceMonitor" "rules" "dashboard" -}}{{- $_ := set $places (printf "monitoring.%s.labels" .) (index $.Values.monitoring .).labels -}}{{- end -}}
{{- range $path, $labels := $places -}}
{{- range $name := keys (default (dict) $labels) | sortAlpha -}}
{{- if regexMatch "^(app[.]kubernetes[.]io/|dtq[.]dev/|helm[.]sh/chart$)" $name -}}
{{- $all = append $all (printf "%s has %s, which the chart sets: choose another name (all but app.kubernetes.io/..., dtq.dev/... and helm.sh/chart)" $path $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Secrets of yours that are in the cluster already, but lack an entry. Those not there yet may still be made: their pods wait. */}}
{{- define "dtq.validate.secrets" -}}
{{- $all := list -}}
{{- $wanted := list -}}
{{- with .Values -}}
{{- $wanted = append $wanted (list "redis.existingSecret" .redis.existingSecret .redis.existingSecretKey "redis.existingSecretKey") -}}
{{- $wanted = append $wanted (list "database.existingSecret" .database.existingSecret .database.existingSecretKey "database.existingSecretKey") -}}
{{- $wanted = append $wanted (list "valkey.existingSecret" .valkey.existingSecret "password" "") -}}
{{- $wanted = append $wanted (list "postgresql.existingSecret" .postgresql.existingSecret "password" "") -}}
{{- range list "keys" "submit" -}}{{- $wanted = append $wanted (list "auth.existingSecret" $.Values.auth.existingSecret . "") -}}{{- end -}}
{{- if include "dtq.asksForDemand" $ -}}{{- $wanted = append $wanted (list "auth.existingSecret" .auth.existingSecret "read" "") -}}{{- end -}}
{{- range list "SMTPUSER" "SMTPPASSWORD" -}}{{- $wanted = append $wanted (list "smtp.existingSecret" $.Values.smtp.existingSecret . "") -}}{{- end -}}
{{- end -}}
{{- range $wanted -}}
{{- $secret := index . 1 -}}
{{- $entry := index . 2 -}}
{{- if and $secret $entry -}}
{{- $found := lookup "v1" "Secret" $.Release.Namespace $secret -}}
{{- if and $found (not (hasKey (default (dict) $found.data) $entry)) -}}
{{- $has := keys (default (dict) $found.data) | sortAlpha | join ", " | default "none" -}}
{{- $fix := printf "add it" -}}
{{- with index . 3 -}}{{- $fix = printf "add it, or set %s" . -}}{{- end -}}
{{- $all = append $all (printf "Secret %s (%s) has no entry %s, only: %s; %s" $secret (index . 0) $entry $has $fix) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/* Helm installs definitions of resources once and never renews them. */}}
{{- define "dtq.validate.crds" -}}
{{- $all := list -}}
{{- if and .Values.crds.check .Values.operator.enabled -}}
{{- $name := "scheduledjobs.dtq.dev" -}}
{{- $needed := dig "metadata" "annotations" "dtq.dev/revision" "1" (.Files.Get "crds/scheduledjobs.yaml" | fromYaml) | int -}}
{{- $found := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" $name -}}
{{- if $found -}}
{{- $there := dig "metadata" "annotations" "dtq.dev/revision" "0" $found | int -}}
{{- if lt $there $needed -}}
{{- $all = append $all (printf "the cluster has revision %d of the definition %s and this chart needs %d, which Helm does not renew. Do that first: helm show crds CHART | kubectl apply --server-side --force-conflicts -f -  (or set crds.check=false)" $there $name $needed) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}
