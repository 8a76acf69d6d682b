/* SPDX-License-Identifier: MPL-2.0
 *
 * Captions an audio or video file in C: prints a cue for each utterance, and says what is wrong in a
 * way that a program can act on.
 *
 *   cc -Wall -Wextra -o captions captions.c $(pkg-config --cflags --libs gstreamer-1.0)
 *   ./captions talk.mp4 [property=value ...]
 *
 * The exit code tells what to do about a failure: 0 all is captioned, 2 the account or its key has
 * to be mended, 3 a setting, 4 it may work later, 1 anything else. When whoever reads the output
 * goes away, SIGPIPE ends it, which a shell shows as 141.
 */

#include <gst/gst.h>
#include <stdio.h>
#include <string.h>

enum { DONE = 0, FAILED = 1, ACCOUNT = 2, SETTINGS = 3, LATER = 4 };

/* A time as h:mm:ss.mmm, or dashes if there is none. */
static void
print_time (guint64 time)
{
  if (GST_CLOCK_TIME_IS_VALID (time))
    printf ("%u:%02u:%02u.%03u", (guint) (time / (GST_SECOND * 3600)),
        (guint) (time / (GST_SECOND * 60) % 60),
        (guint) (time / GST_SECOND % 60),
        (guint) (time / GST_MSECOND % 1000));
  else
    printf ("-:--:--.---");
}

/* Where the service tells them, the times of words are a list of structures. */
static void
print_words (const GstStructure *transcript)
{
  const GValue *words = gst_structure_get_value (transcript, "words");
  guint i;

  for (i = 0; words != NULL && i < gst_value_list_get_size (words); i++) {
    const GstStructure *word =
        gst_value_get_structure (gst_value_list_get_value (words, i));
    guint64 start = GST_CLOCK_TIME_NONE;

    gst_structure_get_uint64 (word, "stream-time", &start);
    printf ("    ");
    print_time (start);
    printf ("  %s\n", gst_structure_get_string (word, "text"));
  }
}

static void
print_transcript (const GstStructure *message)
{
  gboolean final = FALSE;
  guint64 start = GST_CLOCK_TIME_NONE, duration = 0;
  const char *text = gst_structure_get_string (message, "text");

  gst_structure_get_boolean (message, "final", &final);
  /* A final without text closes an utterance of which nothing is left to say. */
  if (!final || text == NULL || *text == '\0')
    return;
  gst_structure_get_uint64 (message, "stream-time", &start);
  gst_structure_get_uint64 (message, "duration", &duration);
  print_time (start);
  printf (" --> ");
  print_time (GST_CLOCK_TIME_IS_VALID (start) ? start + duration : start);
  printf (" [%s] %s\n", gst_structure_get_string (message, "language"), text);
  print_words (message);
}

/* Of the others, "qwenasr/stats" comes with stats-interval only, and "qwenasr/speech-started" and
 * "qwenasr/speech-stopped" are for a sign that lights up. */
static void
on_element_message (const GstStructure *message)
{
  guint64 duration = 0;

  if (gst_structure_has_name (message, "qwenasr/transcript")) {
    print_transcript (message);
  } else if (gst_structure_has_name (message, "qwenasr/connection")) {
    fprintf (stderr, "%s %s\n", gst_structure_get_string (message, "state"),
        gst_structure_get_string (message, "reason"));
  } else if (gst_structure_has_name (message, "qwenasr/audio-lost")) {
    gst_structure_get_uint64 (message, "duration", &duration);
    fprintf (stderr, "%.1f s of audio lost: %s\n", (double) duration / GST_SECOND,
        gst_structure_get_string (message, "reason"));
  }
}

/* What a program can make of an error: `details` is NULL if it is another element's. */
static int
code_of (const GstStructure *details)
{
  const char *kind;
  gboolean retryable = FALSE;
  guint status = 0;

  if (details == NULL || !gst_structure_has_name (details, "qwenasr/error"))
    return FAILED;
  kind = gst_structure_get_string (details, "kind");
  gst_structure_get_boolean (details, "retryable", &retryable);
  fprintf (stderr, "kind: %s\nretryable: %s\nremedy: %s\n", kind,
      retryable ? "yes" : "no", gst_structure_get_string (details, "remedy"));
  if (gst_structure_get_uint (details, "http-status", &status))
    fprintf (stderr, "http-status: %u\n", status);
  if (strcmp (kind, "unauthorized") == 0)
    return ACCOUNT;
  if (strcmp (kind, "settings") == 0 || strcmp (kind, "not-found") == 0)
    return SETTINGS;
  return retryable ? LATER : FAILED;
}

/* What is there of elements that have no details: only there do they name a file. */
static void
print_debug (const GstStructure *details, const char *debug)
{
  if (details == NULL && debug != NULL)
    fprintf (stderr, "%s\n", debug);
}

static int
on_error (GstMessage *message)
{
  GError *error = NULL;
  char *debug = NULL;
  const GstStructure *details = NULL;
  int code;

  gst_message_parse_error (message, &error, &debug);
  gst_message_parse_error_details (message, &details);
  fprintf (stderr, "%s: %s\n", GST_OBJECT_NAME (GST_MESSAGE_SRC (message)),
      error->message);
  print_debug (details, debug);
  code = code_of (details);
  g_error_free (error);
  g_free (debug);
  return code;
}

static void
on_warning (GstMessage *message)
{
  GError *warning = NULL;
  char *debug = NULL;
  const GstStructure *details = NULL;

  gst_message_parse_warning (message, &warning, &debug);
  gst_message_parse_warning_details (message, &details);
  fprintf (stderr, "warning: %s\n", warning->message);
  print_debug (details, debug);
  g_error_free (warning);
  g_free (debug);
}

/* Handles messages until the pipeline ends; the exit code. */
static int
run (GstElement *pipeline)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  int code = -1;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  while (code < 0) {
    GstMessage *message = gst_bus_timed_pop (bus, GST_CLOCK_TIME_NONE);

    switch (GST_MESSAGE_TYPE (message)) {
      case GST_MESSAGE_ELEMENT:
        on_element_message (gst_message_get_structure (message));
        break;
      case GST_MESSAGE_WARNING:
        on_warning (message);
        break;
      case GST_MESSAGE_LATENCY:
        gst_bin_recalculate_latency (GST_BIN (pipeline));
        break;
      case GST_MESSAGE_ERROR:
        code = on_error (message);
        break;
      case GST_MESSAGE_EOS:
        code = DONE;
        break;
      default:
        break;
    }
    gst_message_unref (message);
  }
  /* Returns at once, whatever the network does. */
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  return code;
}

/* Says what a property has to be, and not what it was set to: that may be secret. */
static void
print_allowed (GParamSpec *pspec)
{
  fprintf (stderr, "%s has to be ", pspec->name);
  if (G_IS_PARAM_SPEC_ENUM (pspec)) {
    const GEnumClass *values = G_PARAM_SPEC_ENUM (pspec)->enum_class;
    guint i;

    for (i = 0; i < values->n_values; i++)
      fprintf (stderr, "%s%s", i > 0 ? " or " : "", values->values[i].value_nick);
  } else if (G_IS_PARAM_SPEC_UINT (pspec)) {
    fprintf (stderr, "from %u to %u", G_PARAM_SPEC_UINT (pspec)->minimum,
        G_PARAM_SPEC_UINT (pspec)->maximum);
  } else if (G_IS_PARAM_SPEC_INT (pspec)) {
    fprintf (stderr, "from %d to %d", G_PARAM_SPEC_INT (pspec)->minimum,
        G_PARAM_SPEC_INT (pspec)->maximum);
  } else if (G_IS_PARAM_SPEC_DOUBLE (pspec)) {
    fprintf (stderr, "from %g to %g", G_PARAM_SPEC_DOUBLE (pspec)->minimum,
        G_PARAM_SPEC_DOUBLE (pspec)->maximum);
  } else if (G_IS_PARAM_SPEC_BOOLEAN (pspec)) {
    fprintf (stderr, "true or false");
  } else if (pspec->value_type == G_TYPE_STRING) {
    fprintf (stderr, "text in UTF-8");
  } else if (pspec->value_type == GST_TYPE_STRUCTURE) {
    fprintf (stderr, "like name,field=value");
  } else {
    fprintf (stderr, "a %s", g_type_name (pspec->value_type));
  }
  fputc ('\n', stderr);
}

/* Reads a value as gst_util_set_object_arg() does, which would not say that it cannot. */
static gboolean
read_value (GValue *value, GParamSpec *pspec, const char *text)
{
  g_value_init (value, pspec->value_type);
  /* Nothing at all would be read as 0. */
  if (*text == '\0' && pspec->value_type != G_TYPE_STRING)
    return FALSE;
  /* Validation changes what is out of range. */
  return gst_value_deserialize_with_pspec (value, text, pspec)
      && !g_param_value_validate (pspec, value);
}

/* Sets a property from PROPERTY=VALUE, by nick if it is an enumeration. */
static gboolean
set_property (GstElement *element, const char *assignment)
{
  GParamSpec *pspec = NULL;
  GValue value = G_VALUE_INIT;
  gboolean is_set = FALSE;
  const char *text = strchr (assignment, '=');
  char *name = g_strndup (assignment, text != NULL ? text - assignment : 0);

  if (text != NULL)
    pspec = g_object_class_find_property (G_OBJECT_GET_CLASS (element), name);
  if (text == NULL) {
    fprintf (stderr, "%s is no PROPERTY=VALUE\n", assignment);
  } else if (pspec == NULL) {
    fprintf (stderr, "%s is no property; gst-inspect-1.0 %s lists them\n", name,
        GST_OBJECT_NAME (gst_element_get_factory (element)));
  } else if (!(pspec->flags & G_PARAM_WRITABLE)) {
    fprintf (stderr, "%s is read-only\n", name);
  } else {
    is_set = read_value (&value, pspec, text + 1);
    if (is_set)
      g_object_set_property (G_OBJECT (element), name, &value);
    else
      print_allowed (pspec);
    g_value_unset (&value);
  }
  g_free (name);
  return is_set;
}

int
main (int argc, char **argv)
{
  GstElement *pipeline, *source, *recogniser;
  GError *error = NULL;
  int code = DONE, i;

  /* A cue is to be read when it is there, also through a pipe. */
  setvbuf (stdout, NULL, _IOLBF, BUFSIZ);
  gst_init (&argc, &argv);
  if (argc < 2) {
    fprintf (stderr, "usage: captions FILE [PROPERTY=VALUE ...]\n");
    return FAILED;
  }
  pipeline = gst_parse_launch ("filesrc name=source ! decodebin ! audioconvert ! "
      "audioresample ! qwenasrsink name=recogniser", &error);
  if (error != NULL) {
    fprintf (stderr, "%s\n", error->message);
    g_clear_error (&error);
    gst_clear_object (&pipeline);
    return FAILED;
  }
  source = gst_bin_get_by_name (GST_BIN (pipeline), "source");
  recogniser = gst_bin_get_by_name (GST_BIN (pipeline), "recogniser");
  g_object_set (source, "location", argv[1], NULL);
  for (i = 2; i < argc && code == DONE; i++)
    if (!set_property (recogniser, argv[i]))
      code = SETTINGS;
  if (code == DONE)
    code = run (pipeline);
  gst_object_unref (source);
  gst_object_unref (recogniser);
  gst_object_unref (pipeline);
  return code;
}
