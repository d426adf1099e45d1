{{/*
What the schema cannot say: values that contradict each other or what is in the cluster. Every sentence says what to change, and all of
them are shown at once. Each part yields its sentences as a JSON list.
*/}}

{{- define "dtq.validate" -}}
{{- $parts := list "server" "auth" "front" "blobs" "operator" "pools" "extraEnv" "labels" "secrets" "crds" -}}
{{- $all := list -}}
{{- range $parts -}}
{{- $all = concat $all (include (printf "dtq.validate.%s" .) $ | fromJsonArray) -}}
{{- end -}}
{{- if $all -}}
{{- printf "\n\nThese values cannot be used:\n- %s\n" (join "\n- " $all) | fail -}}
{{- end -}}
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
{{- $all = append $all (printf "%s.%s names a server of your own, but %s.enabled=true starts another: set %s.enabled=false, or remove %s.%s" $kind (ternary "url" "existingSecret" (ne $values.url "")) $bundled $bundled $kind (ternary "url" "existingSecret" (ne $values.url ""))) -}}
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
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{- define "dtq.validate.front" -}}
{{- $all := list -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- $all = append $all "ingress.enabled=true, but ingress.host is empty: set it to the name that clients use, such as dtq.example.com" -}}
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
{{- if hasKey .own "replicas" -}}
{{- $all = append $all (printf "%s.replicas is set, but autoscaling.mode=%s decides how many pods there are: remove it, and set %s.autoscaling.min and max" $path $mode $path) -}}
{{- end -}}
{{- end -}}
{{- if eq $mode "hpa" -}}
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
{{- $places := dict "submitter" .Values.submitter "scheduler" .Values.scheduler "operator" .Values.operator -}}
{{- range $name, $pool := include "dtq.pools" . | fromJson -}}{{- $_ := set $places (printf "workers.%s" $name) $pool -}}{{- end -}}
{{- range $path, $service := $places -}}
{{- range $service.extraEnv -}}
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
