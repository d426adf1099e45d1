{{/* Environment of the containers. */}}

{{/* A number or text as it has to stand in an environment variable: 10485760, not 1.048576e+07. */}}
{{- define "dtq.scalar" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{/* REDISADDR, and before it the password that stands in it. */}}
{{- define "dtq.env.redis" -}}
{{- if .Values.valkey.enabled -}}
- name: VALKEYPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "dtq.valkeySecret" . | quote }}
      key: password
- name: REDISADDR
  value: redis://:$(VALKEYPASSWORD)@{{ include "dtq.fullname" . }}-valkey:6379
{{- else -}}
- name: REDISADDR
  valueFrom:
    secretKeyRef:
      name: {{ default (printf "%s-redis" (include "dtq.fullname" .)) .Values.redis.existingSecret | quote }}
      key: {{ ternary .Values.redis.existingSecretKey "url" (not (empty .Values.redis.existingSecret)) | quote }}
{{- end -}}
{{- end -}}

{{/* DATABASEURL, likewise. */}}
{{- define "dtq.env.database" -}}
{{- if .Values.postgresql.enabled -}}
- name: POSTGRESQLPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "dtq.postgresqlSecret" . | quote }}
      key: password
- name: DATABASEURL
  value: postgresql://dtq:$(POSTGRESQLPASSWORD)@{{ include "dtq.fullname" . }}-postgresql:5432/dtq
{{- else -}}
- name: DATABASEURL
  valueFrom:
    secretKeyRef:
      name: {{ default (printf "%s-database" (include "dtq.fullname" .)) .Values.database.existingSecret | quote }}
      key: {{ ternary .Values.database.existingSecretKey "url" (not (empty .Values.database.existingSecret)) | quote }}
{{- end -}}
{{- end -}}

{{/* The common settings and a service's own, less those that its extraEnv names. Takes root, settings and extra. */}}
{{- define "dtq.env.settings" -}}
{{- $settings := merge (dict) .settings (default (dict) .root.Values.config) -}}
{{- $theirs := dict -}}
{{- range .extra -}}{{- $_ := set $theirs .name true -}}{{- end -}}
{{- range $name, $value := $settings }}
{{- if not (hasKey $theirs $name) }}
- name: {{ $name | quote }}
  value: {{ include "dtq.scalar" $value | quote }}
{{- end }}
{{- end }}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Settings of the blob store, as JSON. */}}
{{- define "dtq.env.blobs" -}}
{{- dict "BLOBURL" (default "file:///var/lib/dtq/blobs" .Values.blobs.url) | toJson -}}
{{- end -}}
