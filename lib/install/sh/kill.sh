@left@
@end@
