{{/* Secrets: which one holds what, and values that are made once and kept. */}}

{{- define "dtq.keysSecret" -}}
{{- default (printf "%s-api-keys" (include "dtq.fullname" .)) .Values.auth.existingSecret -}}
{{- end -}}

{{- define "dtq.valkeySecret" -}}
{{- default (printf "%s-valkey" (include "dtq.fullname" .)) .Values.valkey.existingSecret -}}
{{- end -}}

{{- define "dtq.postgresqlSecret" -}}
{{- default (printf "%s-postgresql" (include "dtq.fullname" .)) .Values.postgresql.existingSecret -}}
{{- end -}}

{{/*
A secret value: the one given, else the one that the cluster's Secret has already, else a random one. Without a server, as in
`helm template`, it is made anew each time. Takes root, secret, entry, given and prefix.
It is asked for in several places of one rendering, which must get the same: so it is noted in .Values, which they share.
*/}}
{{- define "dtq.secretValue" -}}
{{- $notes := default (dict) (index .root.Values "_made") -}}
{{- $_ := set .root.Values "_made" $notes -}}
{{- $id := printf "%s/%s" .secret .entry -}}
{{- if not (hasKey $notes $id) -}}
{{- $value := .given -}}
{{- if not $value -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- $value = dig "data" .entry "" (default (dict) $found) | b64dec -}}
{{- end -}}
{{- $_ := set $notes $id (default (printf "%s%s" .prefix (randAlphaNum 40)) $value) -}}
{{- end -}}
{{- get $notes $id -}}
{{- end -}}

{{- define "dtq.valkeyPassword" -}}
{{- include "dtq.secretValue" (dict "root" . "secret" (include "dtq.valkeySecret" .) "entry" "password" "given" .Values.valkey.password "prefix" "") -}}
{{- end -}}

{{- define "dtq.postgresqlPassword" -}}
{{- include "dtq.secretValue" (dict "root" . "secret" (include "dtq.postgresqlSecret" .) "entry" "password" "given" .Values.postgresql.password "prefix" "") -}}
{{- end -}}

{{/*
Hash of something secret for an annotation, which more people may read than Secrets. Salted with the release, so that it is in no
table and two releases' do not compare; the same at every rendering. Takes root and secret.
*/}}
{{- define "dtq.secretHash" -}}
{{- list .root.Release.Namespace .root.Release.Name (include "dtq.fullname" .root) .secret | toJson | sha256sum -}}
{{- end -}}

{{/*
Changes when a Secret that the chart makes does, so that pods that read it at their start are replaced. Whatever else a pod depends on
stands in its definition.
*/}}
{{- define "dtq.secretsChecksum" -}}
{{- $seen := list (default "" .Values.redis.url) (default "" .Values.database.url) -}}
{{- if and .Values.valkey.enabled (not .Values.valkey.existingSecret) -}}
{{- $seen = append $seen (include "dtq.valkeyPassword" .) -}}
{{- end -}}
{{- if and .Values.postgresql.enabled (not .Values.postgresql.existingSecret) -}}
{{- $seen = append $seen (include "dtq.postgresqlPassword" .) -}}
{{- end -}}
{{- include "dtq.secretHash" (dict "root" . "secret" $seen) -}}
{{- end -}}

{{/* Likewise for the servers, which every restart takes away for seconds: only their own password counts. */}}
{{- define "dtq.valkeyChecksum" -}}
{{- include "dtq.secretHash" (dict "root" . "secret" (default (include "dtq.valkeyPassword" .) .Values.valkey.existingSecret)) -}}
{{- end -}}

{{- define "dtq.postgresqlChecksum" -}}
{{- include "dtq.secretHash" (dict "root" . "secret" (default (include "dtq.postgresqlPassword" .) .Values.postgresql.existingSecret)) -}}
{{- end -}}
