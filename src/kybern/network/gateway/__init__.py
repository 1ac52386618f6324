"""Gateway API: HTTPRoutes and GRPCRoutes to Services, by the proxy that carries Ingresses too (gateway.networking.k8s.io, standard channel).

Reading order: objects (the kinds), definitions (their CRDs, made of the kinds), attaching (which route is on which listener),
routing (a request to a rule), status (what is said of it all), programme (all the objects to all of that), proxy (carries
requests), listening (opens ports), following (keeps all that current).
grpc (a GRPCRoute in the words of an HTTPRoute) stands before all of it.
"""
